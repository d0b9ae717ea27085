//! A consumer group as the services see it.

use crate::domain::filter::Filter;
use crate::domain::ids::{GroupId, GroupName, OrganizationId, StreamId, StreamName};
use crate::domain::retry::{OnFailure, RetryPolicy};
use crate::domain::{Applied, Error, Reason};
use std::collections::BTreeMap;

/// What a group does when events were removed before it had read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncated {
    /// Tell the member and go on at the floor.
    Continue,
    /// Tell the member and wait for a seek.
    Stop,
}

/// How members share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// A partition has one member, which gets its events in offset order.
    Ordered,
    /// Any member gets any event, and settles each by itself.
    Shared,
}

impl DeliveryMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Shared => "shared",
        }
    }

    /// The reverse of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Self {
        if text == "shared" { Self::Shared } else { Self::Ordered }
    }
}

/// A named reader of a stream with its own progress.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub id: GroupId,
    pub organization: OrganizationId,
    pub name: GroupName,
    pub stream_id: StreamId,
    pub stream: StreamName,
    pub description: String,
    pub mode: DeliveryMode,
    /// In a shared group: at most one event of a key is on its way at a time, in the order of the log.
    pub key_order: bool,
    pub ack_timeout_ms: i64,
    pub retry: RetryPolicy,
    pub on_failure: OnFailure,
    pub on_truncated: OnTruncated,
    pub drain_ms: i64,
    /// None: every event matches.
    pub filter: Option<Filter>,
    pub filter_version: i64,
    pub labels: BTreeMap<String, String>,
    /// It runs the rules of its stream: members are brokers.
    pub managed: bool,
    pub paused: bool,
    pub generation: i64,
    pub member_count: u32,
    /// Microseconds since 1970, database time.
    pub created_at: i64,
    pub updated_at: i64,
}

/// No such group; the same for one that belongs to somebody else.
pub fn group_not_found(name: &str) -> Error {
    Error::new(
        Reason::ConsumerGroupNotFound,
        format!("consumer group `{name}` does not exist; create it, or list groups to see what there is"),
    )
    .fact("group", name)
}

/// The name is taken.
pub fn group_exists(name: &GroupName) -> Error {
    Error::new(
        Reason::ConsumerGroupExists,
        format!("consumer group `{name}` exists; choose another name, or update it"),
    )
    .fact("group", name)
    .applied(Applied::No)
}

/// Members still consume.
pub fn group_has_members(name: &GroupName, members: i64) -> Error {
    let message = format!("consumer group `{name}` has {members} members; stop them first, or use force");
    Error::new(Reason::ConsumerGroupHasMembers, message)
        .fact("group", name)
        .fact("members", members)
        .applied(Applied::No)
}
