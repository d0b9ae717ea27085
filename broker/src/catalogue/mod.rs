//! Streams and consumer groups: what there is, and every change to it.
//!
//! Postgres is authoritative. Streams are cached by name for seconds, which is safe because the append checks partition and
//! routing version under its own lock; groups are read afresh. A change is one transaction of one organization, together with
//! the answer to its request id; another organization's objects do not exist. What other brokers must learn of a group is
//! hinted through [`Changed`] after the commit, and found by polling when the hint is lost. Never here: events, members' leases,
//! the wire.

mod cache;
mod changed;
mod dead_letters;
mod groups;
mod purge;
mod room;
mod seek;
mod streams;

pub use self::{
    changed::Changed,
    dead_letters::{DeadLetterChange, DeadLetterEdit, DeadLetterVerb},
    groups::{Delivery, existing_group},
    purge::{Purge, PurgeBefore, Purged},
    seek::{Moved, Seek},
    streams::{Deleted, Deletion, KeyRemap, existing},
};
pub use crate::domain::page::Page;
pub use crate::store::once::{Answer, Once};

use crate::domain::audit::Target;
use crate::domain::group::ConsumerGroup;
use crate::domain::ids::{GroupName, OrganizationId, StreamId, StreamName};
use crate::domain::page::PageKey;
use crate::domain::quota::Quotas;
use crate::domain::stream::{Stream, stream_not_found};
use crate::domain::stream_settings::NewStream;
use crate::domain::{Error, Reason, Result};
use crate::identity::{Granted, Permission, Publish};
use crate::store::{Store, audit, streams as stored};
use cache::StreamCache;
use room::More;
use std::{sync::Arc, time::Duration};

/// How long a stream may be out of date.
const STREAM_LIFETIME: Duration = Duration::from_secs(5);
const STREAMS_CACHED: usize = 10_000;

/// A handle on all streams and groups. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue(Arc<Rooms>);

struct Rooms {
    store: Store,
    streams: StreamCache,
    changed: Changed,
    /// What an organization may have unless an operator says otherwise.
    quotas: Quotas,
}

impl Catalogue {
    /// `quotas` hold for organizations for which an operator has set no others.
    pub fn new(store: Store, changed: Changed, quotas: Quotas) -> Self {
        let streams = StreamCache::new(STREAM_LIFETIME, STREAMS_CACHED);
        Self(Arc::new(Rooms { store, streams, changed, quotas }))
    }

    /// The stream of that name, at most a few seconds old.
    pub async fn stream<P: Permission>(&self, granted: &Granted<P>, name: &StreamName) -> Result<Arc<Stream>> {
        granted.check(name)?;
        self.cached(granted.organization(), name).await
    }

    async fn cached(&self, organization: OrganizationId, name: &StreamName) -> Result<Arc<Stream>> {
        self.0.streams.get(organization, name, self.load(organization, name)).await
    }

    /// The stream of that id, as it is now.
    pub async fn stream_by_id(&self, organization: OrganizationId, id: StreamId) -> Result<Arc<Stream>> {
        let find = |tenant| async move { stored::find_by_id(&tenant, id).await };
        let stream = self.0.store.tenant(organization, find).await?;
        let gone = || Error::new(Reason::StreamNotFound, "the stream was deleted");
        stream.map(Arc::new).ok_or_else(gone)
    }

    /// The stream, for somebody who found `known` out of date: read again unless somebody else has done so already.
    pub async fn stream_after(&self, known: &Stream) -> Result<Arc<Stream>> {
        let (organization, name) = (known.organization, &known.name);
        let cached = self.cached(organization, name).await?;
        if (cached.id, cached.routing_version) != (known.id, known.routing_version) {
            return Ok(cached);
        }
        self.invalidate(organization, name);
        self.cached(organization, name).await
    }

    /// Forgets what is cached of a stream: somebody found it out of date.
    pub fn invalidate(&self, organization: OrganizationId, name: &StreamName) {
        self.0.streams.forget(organization, name);
    }

    /// The group of that name, as it is now.
    pub async fn group<P: Permission>(&self, granted: &Granted<P>, name: &GroupName) -> Result<Arc<ConsumerGroup>> {
        let find = |tenant| async move { existing_group(&tenant, granted, name).await };
        self.0.store.tenant(granted.organization(), find).await.map(Arc::new)
    }

    /// Makes the stream with everything at its default, unless somebody else just did: for development, where a first publish
    /// should simply work.
    pub async fn create_missing(&self, granted: &Granted<Publish>, name: &StreamName) -> Result<Arc<Stream>> {
        granted.check(name)?;
        let organization = granted.organization();
        let new = NewStream::plain(name.clone());
        let (new, by) = (&new, &granted.actor());
        let create = |tenant| async move {
            if stored::create(&tenant, new).await?.is_some() {
                let more = More { streams: 1, partitions: new.partitions.into(), ..More::default() };
                self.room_for(&tenant, more).await?;
                audit::record(&tenant, by, "CreateStream", &Target::stream(name)).await?;
            }
            Ok(())
        };
        self.0.store.tenant(organization, create).await?;
        self.invalidate(organization, name);
        self.cached(organization, name).await
    }

    /// The key that seals page tokens, the same for all brokers.
    pub async fn page_key(&self) -> Result<&PageKey> {
        self.0.store.page_key().await
    }

    async fn load(&self, organization: OrganizationId, name: &StreamName) -> Result<Arc<Stream>> {
        let find = |tenant| async move { stored::find(&tenant, name).await };
        let stream = self.0.store.tenant(organization, find).await?;
        stream.map(Arc::new).ok_or_else(|| stream_not_found(name.as_str()))
    }
}
