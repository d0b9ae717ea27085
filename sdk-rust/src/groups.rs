//! Administration of consumer groups.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::{GroupSpec, Position};
//!
//! client.groups().create("billing", "orders", Position::Earliest, GroupSpec::default()).await?;
//! let lag = client.groups().lag("billing").await?;
//! println!("{} events, {:.1} s behind", lag.events, lag.seconds);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use eventflow_proto::v1;

pub use crate::group_spec::GroupSpec;

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::required,
    error::Result,
    pages::{Pages, pages},
    position::Position,
};

/// A consumer group as it stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Name, unique in the organization.
    pub name: String,
    /// Stream that it reads.
    pub stream: String,
    /// For people.
    pub description: String,
    /// How members share the stream.
    pub mode: DeliveryMode,
    /// A shared group keeps the order of keys.
    pub key_order: bool,
    /// How long a member has for an event that it settles by itself.
    pub ack_timeout: Duration,
    /// What becomes of events that fail.
    pub retry: RetryPolicy,
    /// What an ordered group does when an event fails; `None` for a shared group, which always goes on.
    pub on_failure: Option<OnFailure>,
    /// What it does when events were removed before it had read them.
    pub on_truncated: OnTruncated,
    /// How long a member may finish what it has before a partition moves.
    pub drain_timeout: Duration,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Delivery is stopped.
    pub paused: bool,
    /// Only events that match are delivered; empty: all.
    pub filter: String,
    /// Raised with every change of the filter.
    pub filter_version: i64,
    /// `rules`: it runs the rules of its stream; empty: it is yours.
    pub managed_by: String,
    /// Members now.
    pub member_count: u32,
    /// Raised at every change of membership.
    pub generation: i64,
    /// Database time.
    pub create_time: SystemTime,
    /// Database time.
    pub update_time: SystemTime,
}

/// What a group does when events were removed before it had read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnTruncated {
    /// Tell the member and go on at the floor.
    #[default]
    Continue,
    /// Tell the member and wait for a seek.
    Stop,
}

/// How members share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// A partition has one member at a time, which gets its events in offset order: [`Client::consumer`], or
    /// [`Client::worker`] when events may fail one by one.
    #[default]
    Ordered,
    /// Any member gets any event, in no order but for [`GroupSpec::key_order`], and settles each by itself: [`Client::worker`].
    Shared,
}

/// What an ordered group does when an event fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Try it again where it stands; its partition waits.
    #[default]
    Block,
    /// Go on behind it, and try it again later.
    Skip,
    /// Go on behind it; it is a dead letter at once.
    DeadLetter,
}

/// How often a failed event is tried again, and how long it waits: a random time up to
/// `initial * multiplier ^ (failed attempts - 1)`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// 10 ms to 1 hour. Default 1 s.
    pub initial: Duration,
    /// 1 to 10. Default 2.
    pub multiplier: f64,
    /// From `initial` to a day. Default 5 minutes.
    pub max: Duration,
    /// Failed attempts after which an event is a dead letter: 1 to 1,000,000. Default 10.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        use eventflow_proto::limits as l;
        Self {
            initial: Duration::from_millis(l::RETRY_INITIAL_MS_DEFAULT.unsigned_abs()),
            multiplier: l::RETRY_MULTIPLIER_DEFAULT,
            max: Duration::from_millis(l::RETRY_MAX_MS_DEFAULT.unsigned_abs()),
            max_attempts: l::ATTEMPTS_DEFAULT,
        }
    }
}

/// One subscriber of a group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Name.
    pub name: String,
    /// Broker that serves it.
    pub broker: String,
    /// What the client said it is.
    pub client: String,
    /// Address of the client as the broker saw it.
    pub client_address: String,
    /// Partitions that it holds.
    pub partitions: Vec<u32>,
    /// When it joined (database time).
    pub join_time: SystemTime,
    /// False: its stream broke, and its partitions are kept for the grace.
    pub connected: bool,
}

/// How far a group is behind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lag {
    /// Events behind, all partitions together.
    pub events: i64,
    /// Seconds behind: the largest of the partitions.
    pub seconds: f64,
    /// One entry a partition.
    pub partitions: Vec<PartitionLag>,
    /// Failed events on their way to another attempt.
    pub retries: i64,
    /// Events that the group gave up on.
    pub dead_letters: i64,
    /// Keys for which events wait, where the group keeps their order: at most one of each broker, the hottest first.
    pub hot_keys: Vec<HotKey>,
}

/// A key that is slower than its events come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotKey {
    /// Partition, 0-based.
    pub partition: u32,
    /// Key.
    pub key: String,
    /// Events that wait for an earlier one of this key.
    pub waiting: i64,
    /// Offset of the event that they wait for.
    pub behind_offset: i64,
}

/// Progress and lag of one partition.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartitionLag {
    /// Partition, 0-based.
    pub partition: u32,
    /// The group's next offset.
    pub next_offset: i64,
    /// The first retained offset.
    pub floor: i64,
    /// The next offset to be assigned.
    pub head: i64,
    /// Events between the next offset and the head, counted.
    pub events: i64,
    /// Database time minus the append time of the next event; 0 at the head.
    pub seconds: f64,
    /// Member that holds the partition; `None` when nobody does.
    pub member: Option<String>,
    /// Lease epoch.
    pub lease_epoch: u64,
    /// Log epoch of the next offset.
    pub log_epoch: u64,
    /// Events that were removed before the group had read them, ever.
    pub truncated_events: i64,
    /// Failed events on their way to another attempt.
    pub retries: i64,
    /// Events that the group gave up on.
    pub dead_letters: i64,
}

/// One partition that a seek moved, or would move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionSeek {
    /// Partition, 0-based.
    pub partition: u32,
    /// The next offset before.
    pub previous_offset: i64,
    /// The next offset now.
    pub next_offset: i64,
    /// Events that will be delivered again, or, when negative, that are passed over.
    pub replayed_events: i64,
    /// Failed events that would have been tried again, and that the seek forgets.
    pub cleared_retries: i64,
}

/// Administration of consumer groups. From [`Client::groups`].
#[derive(Clone, Debug)]
pub struct Groups {
    pub(crate) client: Client,
}

impl Groups {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a group that reads `stream`, in every partition from `start` on, which is resolved to offsets now.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_EXISTS`, `STREAM_NOT_FOUND`, `INVALID_ARGUMENT` (an offset is no start: seek instead).
    pub async fn create(
        &self,
        name: impl Into<String>,
        stream: impl Into<String>,
        start: Position,
        spec: GroupSpec,
    ) -> Result<GroupInfo> {
        let (mut group, _) = spec.into_wire(name.into());
        group.stream = stream.into();
        let request =
            v1::CreateConsumerGroupRequest { group: Some(group), start: Some(start.into()), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().create_consumer_group(request).await }
        };
        required(self.client.unary(call).await?.group, "group")?.try_into()
    }

    /// Returns a group.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn get(&self, name: impl Into<String>) -> Result<GroupInfo> {
        let name = name.into();
        let call = |broker: Transport| {
            let request = v1::GetConsumerGroupRequest { name: name.clone() };
            async move { broker.groups().get_consumer_group(request).await }
        };
        required(self.client.unary(call).await?.group, "group")?.try_into()
    }

    /// All groups, by name; pages are fetched as the list is read.
    pub fn list(&self) -> Pages<GroupInfo> {
        self.pages(String::new())
    }

    /// The groups of one stream.
    pub fn list_of_stream(&self, stream: impl Into<String>) -> Pages<GroupInfo> {
        self.pages(stream.into())
    }

    fn pages(&self, stream: String) -> Pages<GroupInfo> {
        pages(self.client.clone(), move |client, page_token| {
            let request = v1::ListConsumerGroupsRequest { stream: stream.clone(), page_size: 0, page_token };
            async move {
                let call = |broker: Transport| {
                    let request = request.clone();
                    async move { broker.groups().list_consumer_groups(request).await }
                };
                let page = client.unary(call).await?;
                let groups = page.groups.into_iter().map(GroupInfo::try_from).collect::<Result<_>>()?;
                Ok((groups, page.next_page_token))
            }
        })
    }

    /// Changes what the spec sets.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn update(&self, name: impl Into<String>, spec: GroupSpec) -> Result<GroupInfo> {
        let (group, paths) = spec.into_wire(name.into());
        let request = v1::UpdateConsumerGroupRequest {
            group: Some(group),
            update_mask: Some(prost_types::FieldMask { paths }),
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().update_consumer_group(request).await }
        };
        required(self.client.unary(call).await?.group, "group")?.try_into()
    }

    /// Removes a group and its progress. Refused while it has members; see [`Groups::delete_with_members`].
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `CONSUMER_GROUP_HAS_MEMBERS`.
    pub async fn delete(&self, name: impl Into<String>) -> Result<()> {
        self.remove(name.into(), false).await
    }

    /// Removes a group although it has members; their consumers end with `CONSUMER_GROUP_NOT_FOUND`.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn delete_with_members(&self, name: impl Into<String>) -> Result<()> {
        self.remove(name.into(), true).await
    }

    async fn remove(&self, name: String, force: bool) -> Result<()> {
        let request = v1::DeleteConsumerGroupRequest { name, force, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().delete_consumer_group(request).await }
        };
        self.client.unary(call).await.map(drop)
    }

    /// The members, by name, and what they hold.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn members(&self, name: impl Into<String>) -> Result<Vec<Member>> {
        let name = name.into();
        let call = |broker: Transport| {
            let request = v1::ListMembersRequest { name: name.clone() };
            async move { broker.groups().list_members(request).await }
        };
        self.client.unary(call).await?.members.into_iter().map(Member::try_from).collect()
    }

    /// Progress and lag of each partition, in events and in seconds.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn lag(&self, name: impl Into<String>) -> Result<Lag> {
        let name = name.into();
        let call = |broker: Transport| {
            let request = v1::GetLagRequest { name: name.clone() };
            async move { broker.groups().get_lag(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }

    /// Moves the group, in one partition or (`None`) in all; an offset needs a partition. Running members go on from there.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `PARTITION_OUT_OF_RANGE`, `OFFSET_BELOW_FLOOR`, `OFFSET_ABOVE_HEAD`.
    pub async fn seek(
        &self,
        name: impl Into<String>,
        partition: Option<u32>,
        to: Position,
    ) -> Result<Vec<PartitionSeek>> {
        self.move_group(name.into(), partition, to, false).await
    }

    /// What a seek would do.
    ///
    /// # Errors
    /// As [`Groups::seek`].
    pub async fn preview_seek(
        &self,
        name: impl Into<String>,
        partition: Option<u32>,
        to: Position,
    ) -> Result<Vec<PartitionSeek>> {
        self.move_group(name.into(), partition, to, true).await
    }

    async fn move_group(
        &self,
        name: String,
        partition: Option<u32>,
        to: Position,
        validate_only: bool,
    ) -> Result<Vec<PartitionSeek>> {
        let request = v1::SeekRequest { name, partition, to: Some(to.into()), validate_only, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().seek(request).await }
        };
        Ok(self.client.unary(call).await?.partitions.into_iter().map(PartitionSeek::from).collect())
    }

    /// Stops delivery; members stay.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn pause(&self, name: impl Into<String>) -> Result<GroupInfo> {
        let request = v1::PauseConsumerGroupRequest { name: name.into(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().pause_consumer_group(request).await }
        };
        required(self.client.unary(call).await?.group, "group")?.try_into()
    }

    /// Goes on with delivery.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn resume(&self, name: impl Into<String>) -> Result<GroupInfo> {
        let request = v1::ResumeConsumerGroupRequest { name: name.into(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.groups().resume_consumer_group(request).await }
        };
        required(self.client.unary(call).await?.group, "group")?.try_into()
    }
}
