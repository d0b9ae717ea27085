//! Consumer groups: made, listed, changed, paused, deleted.

use crate::catalogue::{
    Answer, Catalogue, Once, Page,
    room::More,
    streams::{Deletion, existing},
};
use crate::domain::Result;
use crate::domain::audit::Target;
use crate::domain::group::{ConsumerGroup, group_exists, group_has_members, group_not_found};
use crate::domain::group_settings::{GroupChange, NewGroup};
use crate::domain::ids::{GroupId, GroupName, StreamId, StreamName};
use crate::domain::page::{List, page_size};
use crate::domain::reports::{HotKey, Member, OutcomeCounts, PartitionLag};
use crate::domain::rule::group_managed;
use crate::domain::stream::stream_not_found;
use crate::identity::{Describe, Granted, ManageGroups, Permission};
use crate::store::{Tenant, consumer_groups, streams};

/// Whether a group delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Paused,
    Running,
}

impl Catalogue {
    /// Makes a group; its start becomes offsets now.
    pub async fn create_group(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<ConsumerGroup>,
        new: &NewGroup,
    ) -> Result<Answer<ConsumerGroup>> {
        let target = |_: &ConsumerGroup| Target::group(&new.name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            granted.check(&new.stream)?;
            // Held, so that no partition is added and the stream is not deleted between here and the commit.
            let stream = streams::hold(&tenant, &new.stream).await?;
            let stream = stream.ok_or_else(|| stream_not_found(new.stream.as_str()))?;
            let made = consumer_groups::create(&tenant, stream, new).await?;
            made.ok_or_else(|| group_exists(&new.name))?;
            self.room_for(&tenant, More { groups: 1, ..More::default() }).await?;
            existing_group(&tenant, granted, &new.name).await
        });
        self.announced(answer.await?)
    }

    /// The group as it is now.
    pub async fn get_group(&self, granted: &Granted<Describe>, name: &GroupName) -> Result<ConsumerGroup> {
        let organization = granted.organization();
        self.0.store.tenant(organization, |tenant| async move { existing_group(&tenant, granted, name).await }).await
    }

    /// A page of groups by name: those of one stream, or all that the proof covers.
    pub async fn list_groups(
        &self,
        granted: &Granted<Describe>,
        stream: Option<&StreamName>,
        size: u32,
        token: &str,
    ) -> Result<Page<ConsumerGroup>> {
        let organization = granted.organization();
        let size = page_size("page_size", size)?;
        let filter = stream.map_or("", StreamName::as_str);
        let list = List { organization, method: "ListConsumerGroups", filter };
        let after = &self.page_key().await?.open(list, token)?;
        let found = |tenant| async move {
            let stream = match stream {
                Some(name) => Some(existing(&tenant, granted, name).await?.id),
                None => None,
            };
            consumer_groups::list(&tenant, stream, after, size + 1).await
        };
        let found = self.0.store.tenant(organization, found).await?;
        let page = self.page_key().await?.page(list, size, found, |group| group.name.to_string());
        Ok(page.of(|group| granted.covers(&group.stream)))
    }

    /// Changes what `change` names.
    pub async fn update_group(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<ConsumerGroup>,
        name: &GroupName,
        change: &GroupChange,
    ) -> Result<Answer<ConsumerGroup>> {
        let target = |_: &ConsumerGroup| Target::group(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            let updated = consumer_groups::update(&tenant, name, change).await?;
            let id = updated.ok_or_else(|| group_not_found(name.as_str()))?;
            if change.filter.is_some() {
                consumer_groups::refilter(&tenant, id).await?;
            }
            existing_group(&tenant, granted, name).await
        });
        self.announced(answer.await?)
    }

    /// Removes a group and its progress; one with members only when forced.
    pub async fn delete_group(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<GroupId>,
        name: &GroupName,
        deletion: Deletion,
    ) -> Result<Answer<GroupId>> {
        let target = |_: &GroupId| Target::group(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            let group = existing_group(&tenant, granted, name).await?;
            if group.managed {
                return Err(group_managed(name.as_str(), group.stream.as_str()));
            }
            let deleted = consumer_groups::delete(&tenant, name).await?;
            let (id, members) = deleted.ok_or_else(|| group_not_found(name.as_str()))?;
            // Known only now, under the group's lock; the error takes the deletion back.
            if members > 0 && deletion == Deletion::Unused {
                return Err(group_has_members(name, members));
            }
            Ok(id)
        });
        let answer = answer.await?;
        if let Some(id) = answer.fresh() {
            self.0.changed.group(*id);
        }
        Ok(answer)
    }

    /// Stops delivery or lets it go on; members stay.
    pub async fn set_delivery(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<ConsumerGroup>,
        name: &GroupName,
        delivery: Delivery,
    ) -> Result<Answer<ConsumerGroup>> {
        let target = |_: &ConsumerGroup| Target::group(name);
        let answer = self.0.store.change(granted.actor(), once, target, |tenant| async move {
            // The group's row before its state: everybody locks in this order.
            let touched = consumer_groups::update(&tenant, name, &GroupChange::default()).await?;
            let id = touched.ok_or_else(|| group_not_found(name.as_str()))?;
            consumer_groups::pause(&tenant, id, delivery == Delivery::Paused).await?;
            existing_group(&tenant, granted, name).await
        });
        self.announced(answer.await?)
    }

    /// Members by name.
    pub async fn group_members(&self, granted: &Granted<Describe>, name: &GroupName) -> Result<Vec<Member>> {
        let organization = granted.organization();
        let members = |tenant| async move {
            let group = existing_group(&tenant, granted, name).await?;
            consumer_groups::members(&tenant, group.id).await
        };
        self.0.store.tenant(organization, members).await
    }

    /// Progress and lag, a partition; what failed there; and keys for which events wait.
    pub async fn group_lag(
        &self,
        granted: &Granted<Describe>,
        name: &GroupName,
    ) -> Result<(Vec<PartitionLag>, Vec<OutcomeCounts>, Vec<HotKey>)> {
        let organization = granted.organization();
        let lag = |tenant| async move {
            let group = existing_group(&tenant, granted, name).await?;
            let lag = consumer_groups::lag(&tenant, group.id).await?;
            let counts = consumer_groups::outcome_counts(&tenant, group.id).await?;
            let hot = if group.key_order { consumer_groups::hot_keys(&tenant, group.id).await? } else { Vec::new() };
            Ok((lag, counts, hot))
        };
        self.0.store.tenant(organization, lag).await
    }

    /// Makes the group that runs the rules of a stream, in the transaction of its first rule. The caller holds the stream.
    pub async fn create_managed(&self, tenant: &Tenant, stream: StreamId, new: &NewGroup) -> Result<GroupId> {
        let made = consumer_groups::create(tenant, stream, new).await?;
        let made = made.ok_or_else(|| group_exists(&new.name))?;
        self.room_for(tenant, More { groups: 1, ..More::default() }).await?;
        Ok(made)
    }

    /// Tells whoever watches a group that it was made, changed or removed by somebody else's transaction.
    pub fn group_changed(&self, group: GroupId) {
        self.0.changed.group(group);
    }

    fn announced(&self, answer: Answer<ConsumerGroup>) -> Result<Answer<ConsumerGroup>> {
        if let Some(group) = answer.fresh() {
            self.0.changed.group(group.id);
        }
        Ok(answer)
    }
}

/// The group of that name, in a transaction, for a proof that covers its stream.
pub async fn existing_group<P: Permission>(
    tenant: &Tenant,
    granted: &Granted<P>,
    name: &GroupName,
) -> Result<ConsumerGroup> {
    let group = consumer_groups::find(tenant, name).await?.ok_or_else(|| group_not_found(name.as_str()))?;
    granted.check(&group.stream)?;
    Ok(group)
}
