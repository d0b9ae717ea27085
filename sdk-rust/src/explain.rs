//! Why a group's event is, or is not, delivered.

use std::time::SystemTime;

use eventflow_proto::v1;

use crate::{
    connection::Transport,
    convert::time_from_wire,
    error::{Error, Result},
    groups::Groups,
};

/// What stands between an event and a group, or where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryStatus {
    /// No event has this offset: it lies at or above the head, or between two log epochs.
    NotAppended,
    /// Retention or a purge removed it. Whether a member had it before is not kept.
    Removed,
    /// It lies before where the group began, or was last moved to.
    BeforeStart,
    /// The group's filter leaves it out.
    Filtered,
    /// Acknowledged, or committed past. By whom and when is not kept.
    Done,
    /// The group gave it up.
    DeadLettered,
    /// A member has it.
    InFlight,
    /// It failed, and waits for its next attempt.
    RetryWaiting,
    /// An ordered group tries another event again before it.
    BehindRetry,
    /// Whoever could get it may not have more before something is settled.
    WindowFull,
    /// The group is paused.
    Paused,
    /// The group has no connected members.
    NoMembers,
    /// Events were removed unread, and the group waits for a seek.
    WaitsForSeek,
    /// Another broker delivers it, and alone knows more.
    AtOtherBroker,
    /// Nothing stands in the way: its turn comes.
    Waiting,
    /// The group keeps the order of keys, and another event of its key comes first.
    BehindKey,
    /// So many events wait for another one of their key that the partition stands still.
    KeyBacklog,
    /// It was published for later, or is redriven at a rate, and is not due yet.
    Delayed,
}

impl DeliveryStatus {
    /// As the API names it, such as `IN_FLIGHT`.
    pub fn as_str(self) -> &'static str {
        let wire = match self {
            Self::NotAppended => v1::DeliveryStatus::NotAppended,
            Self::Removed => v1::DeliveryStatus::Removed,
            Self::BeforeStart => v1::DeliveryStatus::BeforeStart,
            Self::Filtered => v1::DeliveryStatus::Filtered,
            Self::Done => v1::DeliveryStatus::Done,
            Self::DeadLettered => v1::DeliveryStatus::DeadLettered,
            Self::InFlight => v1::DeliveryStatus::InFlight,
            Self::RetryWaiting => v1::DeliveryStatus::RetryWaiting,
            Self::BehindRetry => v1::DeliveryStatus::BehindRetry,
            Self::WindowFull => v1::DeliveryStatus::WindowFull,
            Self::Paused => v1::DeliveryStatus::Paused,
            Self::NoMembers => v1::DeliveryStatus::NoMembers,
            Self::WaitsForSeek => v1::DeliveryStatus::WaitsForSeek,
            Self::AtOtherBroker => v1::DeliveryStatus::AtOtherBroker,
            Self::Waiting => v1::DeliveryStatus::Waiting,
            Self::BehindKey => v1::DeliveryStatus::BehindKey,
            Self::KeyBacklog => v1::DeliveryStatus::KeyBacklog,
            Self::Delayed => v1::DeliveryStatus::Delayed,
        };
        wire.as_str_name().trim_start_matches("DELIVERY_STATUS_")
    }
}

/// The first true reason, with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// Which.
    pub status: DeliveryStatus,
    /// The same for people, in one sentence.
    pub explanation: String,
    /// Member that has or had it, or whose window is full; empty when there is none.
    pub member: String,
    /// The broker that delivers it, when it is another one; empty otherwise.
    pub broker: String,
    /// Its address.
    pub broker_address: String,
    /// When it left the broker, or became a dead letter (database time).
    pub since: Option<SystemTime>,
    /// By when it must be settled, or from when it is tried again.
    pub until: Option<SystemTime>,
    /// Number of the attempt that runs or comes next; of a dead letter, how many there were.
    pub attempt: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// Error class of the last failure.
    pub error_class: String,
    /// Offset of the event that it waits behind.
    pub behind_offset: Option<i64>,
}

impl Groups {
    /// Says where an event of the group's stream is, or why no member has it.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `PARTITION_OUT_OF_RANGE`.
    pub async fn explain(&self, name: impl Into<String>, partition: u32, offset: i64) -> Result<Explanation> {
        let request = v1::ExplainEventRequest { name: name.into(), partition, offset: Some(offset) };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().explain_event(request).await }
        };
        self.client.unary(call).await?.try_into()
    }
}

impl TryFrom<v1::ExplainEventResponse> for Explanation {
    type Error = Error;

    fn try_from(wire: v1::ExplainEventResponse) -> Result<Self> {
        Ok(Self {
            status: status(wire.status())?,
            explanation: wire.explanation,
            member: wire.member,
            broker: wire.broker,
            broker_address: wire.broker_address,
            since: wire.since.as_ref().map(time_from_wire),
            until: wire.until.as_ref().map(time_from_wire),
            attempt: wire.attempt,
            reason: wire.reason,
            error_class: wire.error_class,
            behind_offset: wire.behind_offset,
        })
    }
}

fn status(wire: v1::DeliveryStatus) -> Result<DeliveryStatus> {
    Ok(match wire {
        v1::DeliveryStatus::NotAppended => DeliveryStatus::NotAppended,
        v1::DeliveryStatus::Removed => DeliveryStatus::Removed,
        v1::DeliveryStatus::BeforeStart => DeliveryStatus::BeforeStart,
        v1::DeliveryStatus::Filtered => DeliveryStatus::Filtered,
        v1::DeliveryStatus::Done => DeliveryStatus::Done,
        v1::DeliveryStatus::DeadLettered => DeliveryStatus::DeadLettered,
        v1::DeliveryStatus::InFlight => DeliveryStatus::InFlight,
        v1::DeliveryStatus::RetryWaiting => DeliveryStatus::RetryWaiting,
        v1::DeliveryStatus::BehindRetry => DeliveryStatus::BehindRetry,
        v1::DeliveryStatus::WindowFull => DeliveryStatus::WindowFull,
        v1::DeliveryStatus::Paused => DeliveryStatus::Paused,
        v1::DeliveryStatus::NoMembers => DeliveryStatus::NoMembers,
        v1::DeliveryStatus::WaitsForSeek => DeliveryStatus::WaitsForSeek,
        v1::DeliveryStatus::AtOtherBroker => DeliveryStatus::AtOtherBroker,
        v1::DeliveryStatus::Waiting => DeliveryStatus::Waiting,
        v1::DeliveryStatus::BehindKey => DeliveryStatus::BehindKey,
        v1::DeliveryStatus::KeyBacklog => DeliveryStatus::KeyBacklog,
        v1::DeliveryStatus::Delayed => DeliveryStatus::Delayed,
        v1::DeliveryStatus::Unspecified => {
            return Err(Error::protocol("the broker gave a delivery status that this client does not know"));
        }
    })
}
