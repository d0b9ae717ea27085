//! Streams: made, listed, changed, deleted.

use crate::catalogue::{Answer, Catalogue, Once, Page, room::More};
use crate::domain::Result;
use crate::domain::audit::Target;
use crate::domain::ids::{GroupId, StreamName};
use crate::domain::page::{List, page_size};
use crate::domain::reports::PartitionStatistics;
use crate::domain::stream::{
    Stream, key_remap_not_allowed, keys_stay, stream_exists, stream_has_groups, stream_not_found,
};
use crate::domain::stream_settings::{NewStream, StreamChange, more_partitions};
use crate::identity::{Describe, Granted, ManageStreams, Permission};
use crate::store::{Tenant, consumer_groups, rules, streams};

/// What a deletion may take with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Only what nobody uses.
    Unused,
    /// Also what is in use.
    Forced,
}

/// A stream that is gone, and the groups that went with it.
#[derive(Clone, Debug)]
pub struct Deleted {
    pub groups: Vec<GroupId>,
}

/// Whether keys may go to other partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRemap {
    Refused,
    Allowed,
}

impl Catalogue {
    /// Makes a stream.
    pub async fn create_stream(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Stream>,
        new: &NewStream,
    ) -> Result<Answer<Stream>> {
        let organization = granted.organization();
        granted.check(&new.name)?;
        let target = |_: &Stream| Target::stream(&new.name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            let made = streams::create(&tenant, new).await?;
            made.ok_or_else(|| stream_exists(&new.name))?;
            let more = More { streams: 1, partitions: new.partitions.into(), ..More::default() };
            self.room_for(&tenant, more).await?;
            existing(&tenant, granted, &new.name).await
        });
        let answer = answer.await?;
        self.invalidate(organization, &new.name);
        Ok(answer)
    }

    /// The stream as it is now.
    pub async fn get_stream(&self, granted: &Granted<Describe>, name: &StreamName) -> Result<Stream> {
        let organization = granted.organization();
        self.0.store.tenant(organization, |tenant| async move { existing(&tenant, granted, name).await }).await
    }

    /// A page of streams by name, of those that the proof covers.
    pub async fn list_streams(&self, granted: &Granted<Describe>, size: u32, token: &str) -> Result<Page<Stream>> {
        let organization = granted.organization();
        let size = page_size("page_size", size)?;
        let list = List { organization, method: "ListStreams", filter: "" };
        let after = &self.page_key().await?.open(list, token)?;
        let found = |tenant| async move { streams::list(&tenant, after, size + 1).await };
        let found = self.0.store.tenant(organization, found).await?;
        let page = self.page_key().await?.page(list, size, found, |stream| stream.name.to_string());
        Ok(page.of(|stream| granted.covers(&stream.name)))
    }

    /// Changes what `change` names.
    pub async fn update_stream(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Stream>,
        name: &StreamName,
        change: &StreamChange,
    ) -> Result<Answer<Stream>> {
        let organization = granted.organization();
        granted.check(name)?;
        let target = |_: &Stream| Target::stream(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            if !streams::update(&tenant, name, change).await? {
                return Err(stream_not_found(name.as_str()));
            }
            existing(&tenant, granted, name).await
        });
        let answer = answer.await?;
        self.invalidate(organization, name);
        Ok(answer)
    }

    /// Removes a stream and its events; its groups too when forced.
    pub async fn delete_stream(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Deleted>,
        name: &StreamName,
        deletion: Deletion,
    ) -> Result<Answer<Deleted>> {
        let organization = granted.organization();
        granted.check(name)?;
        let target = |_: &Deleted| Target::stream(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            let id = streams::lock(&tenant, name).await?;
            let id = id.ok_or_else(|| stream_not_found(name.as_str()))?;
            let groups = consumer_groups::names_of_stream(&tenant, id).await?;
            if !groups.is_empty() && deletion == Deletion::Unused {
                return Err(stream_has_groups(name, &groups));
            }
            let groups = consumer_groups::delete_of_stream(&tenant, id).await?;
            rules::delete_pipeline(&tenant, id).await?;
            streams::delete(&tenant, id).await?;
            Ok(Deleted { groups })
        });
        let answer = answer.await?;
        self.invalidate(organization, name);
        for group in answer.fresh().into_iter().flat_map(|deleted| &deleted.groups) {
            self.0.changed.group(*group);
        }
        Ok(answer)
    }

    /// Raises the number of partitions to `wanted`. Groups get their progress in the new ones, at the floor.
    pub async fn add_partitions(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Stream>,
        name: &StreamName,
        wanted: u32,
        key_remap: KeyRemap,
    ) -> Result<Answer<Stream>> {
        let organization = granted.organization();
        granted.check(name)?;
        let target = |_: &Stream| Target::stream(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            let locked = streams::lock(&tenant, name).await?;
            locked.ok_or_else(|| stream_not_found(name.as_str()))?;
            let stream = existing(&tenant, granted, name).await?;
            let present = stream.partition_count();
            let wanted = more_partitions("partitions", present, wanted)?;
            if stream.track_keys {
                return Err(keys_stay(name));
            }
            if key_remap == KeyRemap::Refused {
                return Err(key_remap_not_allowed(name));
            }
            streams::add_partitions(&tenant, stream.id, present, wanted).await?;
            let more = More { partitions: u64::from(wanted - present), ..More::default() };
            self.room_for(&tenant, more).await?;
            existing(&tenant, granted, name).await
        });
        let answer = answer.await?;
        self.invalidate(organization, name);
        if let Some(stream) = answer.fresh() {
            self.announce_groups_of(stream).await;
        }
        Ok(answer)
    }

    /// Counts, a partition.
    pub async fn stream_statistics(
        &self,
        granted: &Granted<Describe>,
        name: &StreamName,
    ) -> Result<Vec<PartitionStatistics>> {
        let organization = granted.organization();
        let count = |tenant| async move {
            let stream = existing(&tenant, granted, name).await?;
            streams::statistics(&tenant, stream.id).await
        };
        self.0.store.tenant(organization, count).await
    }

    /// The change is committed: a hint that fails to be found is one that polling replaces.
    async fn announce_groups_of(&self, stream: &Stream) {
        let find = |tenant| async move { consumer_groups::ids_of_stream(&tenant, stream.id).await };
        match self.0.store.tenant(stream.organization, find).await {
            Ok(groups) => groups.into_iter().for_each(|group| self.0.changed.group(group)),
            Err(error) => {
                tracing::debug!(%error, "groups were not told of new partitions; they will find them")
            }
        }
    }
}

/// The stream of that name, in a transaction, for a proof that covers it.
pub async fn existing<P: Permission>(tenant: &Tenant, granted: &Granted<P>, name: &StreamName) -> Result<Stream> {
    granted.check(name)?;
    streams::find(tenant, name).await?.ok_or_else(|| stream_not_found(name.as_str()))
}
