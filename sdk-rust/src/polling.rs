//! Consuming without a stream, for scripts, functions and jobs that run now and then.
//!
//! A poller joins the group as a member that lives for as long as it is asked for something. Between two polls nothing needs to
//! stay: its [`cursor`](Poller::cursor) and [`session`](Poller::session) may be written down, and another process goes on with
//! [`Client::resume_poll`] and [`Client::acknowledge`]. Where a stream can be held, [`Client::worker`] and [`Client::consumer`] are
//! faster.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::Failure;
//!
//! let mut poller = client.poll("mailer").max_events(10).join().await?;
//! loop {
//!     let polled = poller.next().await?;
//!     if polled.events.is_empty() {
//!         break;
//!     }
//!     let outcomes: Vec<_> = polled.events.iter().map(|event| match event.key() {
//!         Some(_) => event.ack(),
//!         None => event.fail(Failure::give_up("no address")),
//!     }).collect();
//!     for refused in poller.settle(outcomes).await? {
//!         println!("{}: {}", refused.offset, refused.error);
//!     }
//! }
//! poller.leave().await
//! # }
//! ```

use std::{fmt, ops::Deref, str::FromStr, time::Duration};

use eventflow_proto::v1::{self, event_outcome::Outcome as Wire};

use crate::{
    client::Client,
    connection::Transport,
    convert::{duration_from_wire, duration_to_wire, record_from_wire, required},
    error::{Error, Result},
    position::Record,
    worker::{Failure, outcome_to_wire},
};

/// How long an answer is waited for that is not told otherwise.
const WAIT: Duration = Duration::from_secs(10);

/// Names an event in the hands of a session: what it takes to settle it. Its text is `PARTITION@OFFSET#LEASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// Partition, 0-based.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
    /// Lease epoch of the delivery.
    pub lease_epoch: u64,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// The attempt failed: it is tried again, or a dead letter at once ([`Failure::give_up`]).
    Fail(Failure),
    /// It takes longer: this much from now, or the ack timeout once more.
    Extend(Option<Duration>),
}

/// An event to be settled.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolledEvent {
    /// The event and its position; of which stream, the group knows.
    pub record: Record,
    /// Lease epoch of this delivery.
    pub lease_epoch: u64,
    /// Number of this attempt: 1 at first.
    pub attempt: u32,
    /// Why the attempt before failed; empty at the first.
    pub last_reason: String,
    /// Error class of the attempt before.
    pub last_class: String,
    /// It was a dead letter, and somebody gave it back.
    pub redriven: bool,
}

/// What a poll got; there may be nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Polled {
    /// Each partition's in the order of their offsets.
    pub events: Vec<PolledEvent>,
    /// Partitions that were moved or taken away: what was polled of them before, and is not settled, is void.
    pub void_partitions: Vec<u32>,
    /// Events that were removed before the group had read them: partition, first offset, and the one behind the last.
    pub truncated: Vec<(u32, i64, i64)>,
    /// The group is shared, and events are settled in any order; otherwise those of a partition in theirs.
    pub shared: bool,
    /// How long there is for an event that must be settled by itself, from when it left the broker.
    pub ack_timeout: Duration,
    /// The session ends when nothing is asked of it for so long.
    pub idle_timeout: Duration,
}

/// Outcomes that changed nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Partition, 0-based.
    pub partition: u32,
    /// The first event.
    pub offset: i64,
    /// The last event.
    pub last_offset: i64,
    /// Why: `ACK_DEADLINE_PASSED`, `MEMBER_FENCED`, `EVENT_NOT_IN_FLIGHT`, …: it comes again, or has come to somebody else.
    pub error: Error,
}

/// Joins a group by polls. From [`Client::poll`].
#[derive(Clone, Debug)]
pub struct PollBuilder {
    client: Client,
    request: v1::PollRequest,
    wait: Duration,
}

/// A member of a group that polls. Dropped without [`leave`](Poller::leave), its session ends after the idle timeout, and what it has
/// goes to others then.
#[derive(Clone, Debug)]
pub struct Poller {
    client: Client,
    cursor: String,
    session: String,
    member: String,
    wait: Duration,
    /// The answer to the poll that began it.
    first: Option<Polled>,
}

impl Client {
    /// Joins a group without a stream.
    pub fn poll(&self, group: impl Into<String>) -> PollBuilder {
        let request = v1::PollRequest {
            group: group.into(),
            // A name of its own, so that a join whose answer was lost leaves nothing behind when it is made again.
            member_name: format!("poll-{}", uuid::Uuid::new_v4().simple()),
            client: crate::USER_AGENT.to_owned(),
            ..v1::PollRequest::default()
        };
        PollBuilder { client: self.clone(), request, wait: WAIT }
    }

    /// Goes on behind an answer, perhaps of another process: by its cursor.
    ///
    /// # Errors
    /// As [`Poller::next`].
    pub async fn resume_poll(&self, cursor: impl Into<String>, wait: Duration) -> Result<Poller> {
        let request = v1::PollRequest { cursor: cursor.into(), ..v1::PollRequest::default() };
        begin(self, request, wait).await
    }

    /// Settles events of a polled session. Answers what was refused; everything else is durable.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`: it has ended. `SESSION_ELSEWHERE`: it lives at another broker, which the metadata name. When the answer is
    /// lost, [`applied`](Error::applied) is not known: what was settled is refused with `EVENT_NOT_IN_FLIGHT` the next time.
    pub async fn acknowledge(
        &self,
        session: impl Into<String>,
        outcomes: impl IntoIterator<Item = (Handle, Outcome)>,
    ) -> Result<Vec<Refused>> {
        self.settle(session.into(), outcomes.into_iter().map(wire).collect(), false).await
    }

    /// Ends a polled session: what it has and did not settle goes to others at once, uncounted.
    ///
    /// # Errors
    /// As [`Client::acknowledge`].
    pub async fn leave_poll(&self, session: impl Into<String>) -> Result<()> {
        self.settle(session.into(), Vec::new(), true).await.map(drop)
    }

    async fn settle(&self, session_id: String, outcomes: Vec<v1::EventOutcome>, leave: bool) -> Result<Vec<Refused>> {
        let request = v1::AcknowledgeRequest { session_id, outcomes, commits: Vec::new(), leave };
        let call = |broker: Transport| async move { broker.consumers().acknowledge(request).await };
        Ok(self.once(call).await?.failures.into_iter().map(Refused::from).collect())
    }
}

impl PollBuilder {
    /// The member's name. Polling again under it takes over from the session that had it. Default: made up.
    #[must_use]
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.request.member_name = name.into();
        self
    }

    /// Events of one answer at most: 1 to 1,000. Default 100.
    #[must_use]
    pub fn max_events(mut self, events: u32) -> Self {
        self.request.max_events = events;
        self
    }

    /// Bytes of events of one answer at most: up to 3 MiB. Default 1 MiB. One event is always allowed.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.request.max_bytes = bytes;
        self
    }

    /// How long a poll waits when there is nothing: up to 20 s. Default 10 s.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Joins. The first [`Poller::next`] answers what the join found, without asking again.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `TOO_MANY_MEMBERS`, `INVALID_ARGUMENT`.
    pub async fn join(self) -> Result<Poller> {
        begin(&self.client, self.request, self.wait).await
    }
}

async fn begin(client: &Client, request: v1::PollRequest, wait: Duration) -> Result<Poller> {
    let answer = ask(client, request, wait).await?;
    let (cursor, session, member) = (answer.cursor.clone(), answer.session_id.clone(), answer.member_name.clone());
    let first = Some(Polled::try_from(answer)?);
    Ok(Poller { client: client.clone(), cursor, session, member, wait, first })
}

/// The same cursor gets the same answer, so a poll may be made again.
async fn ask(client: &Client, request: v1::PollRequest, wait: Duration) -> Result<v1::PollResponse> {
    let request = v1::PollRequest { wait: Some(duration_to_wire(wait)), ..request };
    let call = |broker: Transport| {
        let request = request.clone();
        async move { broker.consumers().poll(request).await }
    };
    client.unary_after(wait, call).await
}

impl Poller {
    /// The next events, when there are any within the wait. Dropped while it waits, nothing is lost: the next call gets it.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`: it has ended, poll anew. `SESSION_ELSEWHERE`: a load balancer led to another broker than the session's.
    /// `MEMBER_FENCED`: somebody else polls under the member's name.
    pub async fn next(&mut self) -> Result<Polled> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let request = v1::PollRequest { cursor: self.cursor.clone(), ..v1::PollRequest::default() };
        let answer = ask(&self.client, request, self.wait).await?;
        let cursor = answer.cursor.clone();
        let polled = Polled::try_from(answer)?;
        self.cursor = cursor;
        Ok(polled)
    }

    /// Settles events, in any order, but in an ordered group each partition's in theirs. Answers what was refused; everything else is
    /// durable.
    ///
    /// # Errors
    /// As [`Client::acknowledge`].
    pub async fn settle(&self, outcomes: impl IntoIterator<Item = (Handle, Outcome)>) -> Result<Vec<Refused>> {
        self.client.acknowledge(&self.session, outcomes).await
    }

    /// Ends the session: what it has and did not settle goes to others at once, uncounted.
    ///
    /// # Errors
    /// As [`Client::acknowledge`].
    pub async fn leave(self) -> Result<()> {
        self.client.leave_poll(self.session).await
    }

    /// Where to go on: for [`Client::resume_poll`].
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The session: for [`Client::acknowledge`].
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The member's name.
    pub fn member(&self) -> &str {
        &self.member
    }
}

impl PolledEvent {
    /// What it takes to settle it.
    pub fn handle(&self) -> Handle {
        Handle { partition: self.record.partition, offset: self.record.offset, lease_epoch: self.lease_epoch }
    }

    /// It is done.
    pub fn ack(&self) -> (Handle, Outcome) {
        (self.handle(), Outcome::Ack)
    }

    /// The attempt failed. Any error becomes a [`Failure`].
    pub fn fail(&self, failure: impl Into<Failure>) -> (Handle, Outcome) {
        (self.handle(), Outcome::Fail(failure.into()))
    }

    /// It takes longer: this much from now.
    pub fn extend(&self, by: Duration) -> (Handle, Outcome) {
        (self.handle(), Outcome::Extend(Some(by)))
    }
}

impl Deref for PolledEvent {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{}", self.partition, self.offset, self.lease_epoch)
    }
}

impl FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (partition, rest) = text.split_once('@')?;
            let (offset, lease) = rest.split_once('#')?;
            let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
            Some(Self { partition: partition.parse().ok()?, offset, lease_epoch: lease.parse().ok()? })
        };
        let message = || format!("`{text}` names no event of a poll: they look like `0@1024#7`");
        parse().ok_or_else(|| Error::invalid_options(message()))
    }
}

fn wire((handle, outcome): (Handle, Outcome)) -> v1::EventOutcome {
    v1::EventOutcome {
        partition: handle.partition,
        log_epoch: handle.offset.unsigned_abs() >> eventflow_proto::limits::LOG_EPOCH_BITS,
        lease_epoch: handle.lease_epoch,
        offset: Some(handle.offset),
        last_offset: None,
        outcome: Some(match outcome {
            Outcome::Ack => outcome_to_wire(None),
            Outcome::Fail(failure) => outcome_to_wire(Some(&failure)),
            Outcome::Extend(by) => Wire::Extend(v1::Extend { by: by.map(duration_to_wire) }),
        }),
    }
}

impl From<v1::OutcomeFailure> for Refused {
    fn from(failure: v1::OutcomeFailure) -> Self {
        Self {
            partition: failure.partition,
            offset: failure.offset,
            last_offset: failure.last_offset,
            error: failure.error.unwrap_or_default().into(),
        }
    }
}

impl TryFrom<v1::PollResponse> for Polled {
    type Error = Error;

    fn try_from(answer: v1::PollResponse) -> Result<Self> {
        let event = |polled: v1::PolledEvent| {
            Ok(PolledEvent {
                record: record_from_wire(required(polled.event, "events.event")?, "events.event.event")?,
                lease_epoch: polled.lease_epoch,
                attempt: polled.attempt,
                last_reason: polled.last_reason,
                last_class: polled.last_error_class,
                redriven: polled.redriven,
            })
        };
        let cut = |cut: v1::Truncated| (cut.partition, cut.from_offset, cut.to_offset);
        Ok(Self {
            events: answer.events.into_iter().map(event).collect::<Result<_>>()?,
            void_partitions: answer.void_partitions,
            truncated: answer.truncated.into_iter().map(cut).collect(),
            shared: answer.shared,
            ack_timeout: duration_from_wire(&answer.ack_timeout.unwrap_or_default()),
            idle_timeout: duration_from_wire(&answer.idle_timeout.unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_its_text() {
        let handle = Handle { partition: 3, offset: (2 << 40) + 7, lease_epoch: 12 };
        assert_eq!(handle.to_string().parse::<Handle>().expect("a handle"), handle);
        assert_eq!(wire((handle, Outcome::Ack)).log_epoch, 2);
        for bad in ["", "3@7", "3#7", "x@1#1", "1@-1#1"] {
            assert!(bad.parse::<Handle>().is_err(), "`{bad}`");
        }
    }
}
