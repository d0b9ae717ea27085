//! Delivery: one session a subscriber, fed from the tail or from the log, bounded by its window; and progress on its way back.
//!
//! Promises: events of a partition arrive in offset order, without a gap; what is delivered and not yet committed is bounded; a
//! slow reader costs bounded memory and slows nobody else; a commit is confirmed after it is durable. Never here: appending, or
//! knowing about gRPC.

pub mod commits;
pub mod control;
pub mod explain;
pub mod feeder;
pub mod frame;
pub mod frames;
mod held;
pub mod hints;
mod in_order;
pub mod listing;
mod picking;
pub mod polling;
pub mod pool;
mod pump;
pub mod reader;
pub mod reads;
pub mod registry;
pub(crate) mod session;
pub mod source;
pub mod sweeper;
pub mod window;

use crate::catalogue::Catalogue;
use crate::delivery::commits::CommitHandle;
use crate::delivery::explain::Explainer;
use crate::delivery::frames::{Frames, frames};
use crate::delivery::polling::Polls;
use crate::delivery::pool::Pools;
use crate::delivery::registry::Registry;
use crate::domain::ids::GroupName;
use crate::domain::rule::group_managed;
use crate::domain::{Error, Result};
use crate::groups::{Groups, Trust};
use crate::identity::{Consume, Granted};
use crate::runtime::{Kind, Tasks};
use crate::store::Store;
use crate::tail::Tail;
use session::Session;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

/// What sessions work with. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    pub store: Store,
    pub catalogue: Catalogue,
    pub tail: Tail,
    pub groups: Groups,
    pub trust: Trust,
    pub commits: CommitHandle,
    pub registry: Registry,
    pub pools: Pools,
    pub polls: Polls,
    pub tasks: Tasks,
    pub settings: Settings,
    /// Fires when sessions should send a go-away and end.
    pub draining: CancellationToken,
}

/// Times that the subscribers are told of.
#[derive(Clone, Debug)]
pub struct Settings {
    pub broker_name: String,
    pub heartbeat: Duration,
    pub silence_limit: Duration,
    pub member_grace: Duration,
    /// How long a subscriber may take to go after a go-away.
    pub go_away_grace: Duration,
}

/// Who subscribes, and with what window.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub group: GroupName,
    /// None: one is made up.
    pub member: Option<String>,
    pub window_events: u32,
    pub window_bytes: u64,
    /// The member takes failed events again, and settles each by itself.
    pub redeliveries: bool,
    /// So many events and bytes go together at most.
    pub batch: (u64, u64),
    /// What the subscriber does not take for this long ends it. None: somebody else watches it.
    pub silence_limit: Option<Duration>,
    pub client: String,
    pub client_address: String,
    /// Fires when the connection is to go, because of its age: the session says go-away.
    pub going: CancellationToken,
    /// Fires when the subscriber's credential is withdrawn: the session ends, and its partitions are free.
    pub withdrawn: CancellationToken,
}

impl Deliveries {
    /// Says why an event is not delivered.
    pub fn explainer(&self) -> Explainer {
        Explainer {
            catalogue: self.catalogue.clone(),
            store: self.store.clone(),
            registry: self.registry.clone(),
            pools: self.pools.clone(),
            trust: self.trust.clone(),
        }
    }

    /// Makes the caller a member and returns its frames; the session lives until they are dropped.
    pub async fn subscribe(&self, granted: &Granted<Consume>, subscription: Subscription) -> Result<Frames> {
        let group = self.catalogue.group(granted, &subscription.group).await?;
        // A member from outside would take events that no rule then sees.
        if group.managed && !granted.is_of_rules() {
            return Err(group_managed(group.name.as_str(), group.stream.as_str()));
        }
        let stream = self.catalogue.stream_by_id(granted.organization(), group.stream_id).await?;
        let (outlet, frames) = frames();
        let member = subscription.member.clone().unwrap_or_else(|| format!("member-{}", Uuid::new_v4().simple()));
        let session = Session::join(self.clone(), group, stream, member, &subscription, outlet).await?;
        let span =
            tracing::debug_span!("session", group = %session.group.name, member = %session.member, id = %session.id);
        self.tasks.spawn(Kind::Session, session.run().instrument(span));
        Ok(frames)
    }
}

/// The session's lease on its broker ran out: the subscriber should come again.
pub fn session_expired() -> Error {
    Error::new(
        crate::domain::Reason::SessionExpired,
        "the broker lost its lease, so the session ended; subscribe again",
    )
    .retry_after(Duration::from_millis(50))
}
