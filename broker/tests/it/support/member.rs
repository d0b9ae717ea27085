//! A member of a group, as a client without an SDK would be one: a Subscribe stream and a Commit stream.

use super::{Clients, text};
use eventflow_proto::EventBatch;
use eventflow_proto::v1::event_outcome::Outcome;
use eventflow_proto::v1::{self, commit_request::Frame as Ask, subscribe_response::Frame};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// A subscription and its state as the client knows it.
pub struct Member {
    pub session: v1::SessionStarted,
    pub frames: Streaming<v1::SubscribeResponse>,
    commits: Option<CommitSide>,
    clients: Clients,
    /// Leases by partition.
    pub held: BTreeMap<u32, v1::AssignedPartition>,
}

struct CommitSide {
    ask: mpsc::Sender<v1::CommitRequest>,
    answers: Streaming<v1::CommitResponse>,
    next_id: u64,
}

impl Member {
    pub async fn join(clients: &Clients, group: &str, name: &str) -> Result<Self, Status> {
        let request = v1::SubscribeRequest {
            group: group.into(),
            member_name: name.into(),
            window_events: 100_000,
            redeliveries: true,
            ..Default::default()
        };
        Self::subscribe(clients, request).await
    }

    pub async fn subscribe(clients: &Clients, request: v1::SubscribeRequest) -> Result<Self, Status> {
        let mut clients = clients.clone();
        let mut frames = clients.consumer.subscribe(request).await?.into_inner();
        let first = frames.message().await?.expect("a first frame").frame;
        let Some(Frame::Session(session)) = first else { panic!("the session first, not {first:?}") };
        Ok(Self { session, frames, commits: None, clients, held: BTreeMap::new() })
    }

    /// The next frame; leases are kept up on the way.
    pub async fn next(&mut self) -> Result<Frame, Status> {
        let message = eventflow_testkit::within("the next frame", self.frames.message()).await?;
        let frame = message.ok_or_else(ended)?.frame.expect("a frame");
        match &frame {
            Frame::Assigned(assigned) => {
                for lease in &assigned.partitions {
                    self.held.insert(lease.partition, *lease);
                }
            }
            Frame::Repositioned(moved) => {
                let lease = moved.partition.expect("a lease");
                self.held.insert(lease.partition, lease);
            }
            Frame::Lost(lost) => lost.partitions.iter().for_each(|partition| {
                self.held.remove(partition);
            }),
            _ => {}
        }
        Ok(frame)
    }

    /// Frames until one is of the wanted kind.
    pub async fn until<T>(&mut self, wanted: impl Fn(&Self, &Frame) -> Option<T>) -> T {
        // Heartbeats alone are not what anybody waits for.
        eventflow_testkit::within("the wanted frame", async {
            loop {
                let frame = self.next().await.unwrap_or_else(|status| panic!("the subscription ended: {status:?}"));
                if let Some(found) = wanted(self, &frame) {
                    return found;
                }
            }
        })
        .await
    }

    pub async fn batch(&mut self) -> EventBatch {
        self.until(|_, frame| match frame {
            Frame::Batch(batch) => Some(batch.head.clone()),
            _ => None,
        })
        .await
    }

    /// Until so many partitions are held.
    pub async fn until_held(&mut self, count: usize) {
        if self.held.len() != count {
            self.until(|member, _| (member.held.len() == count).then_some(())).await;
        }
    }

    /// Texts with their offsets, until there are so many.
    pub async fn texts(&mut self, count: usize) -> Vec<(u32, i64, String)> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let batch = self.batch().await;
            let offsets = batch.base_offset..;
            seen.extend(offsets.zip(&batch.events).map(|(offset, event)| (batch.partition, offset, text(event))));
        }
        seen
    }

    async fn commit_side(&mut self) -> Result<&mut CommitSide, Status> {
        if self.commits.is_none() {
            let (ask, asked) = mpsc::channel(16);
            let session_id = self.session.session_id.clone();
            let attach = v1::CommitRequest { frame_id: 0, frame: Some(Ask::Attach(v1::CommitAttach { session_id })) };
            ask.send(attach).await.expect("room");
            let mut answers = self.clients.consumer.commit(ReceiverStream::new(asked)).await?.into_inner();
            answers.message().await?.ok_or_else(ended)?;
            self.commits = Some(CommitSide { ask, answers, next_id: 0 });
        }
        self.commits.as_mut().ok_or_else(ended)
    }

    /// Opens the Commit stream, which is opened by the first frame otherwise.
    pub async fn attach(&mut self) -> Result<(), Status> {
        self.commit_side().await.map(drop)
    }

    /// Sends a frame of the Commit stream and waits for nothing.
    pub async fn send(&mut self, frame: Ask) -> Result<u64, Status> {
        let side = self.commit_side().await?;
        side.next_id += 1;
        let frame_id = side.next_id;
        let sent = side.ask.send(v1::CommitRequest { frame_id, frame: Some(frame) }).await;
        sent.map(|()| frame_id).map_err(|_| ended())
    }

    /// The answer to the oldest frame that has none yet.
    pub async fn answer(&mut self) -> Result<v1::CommitResponse, Status> {
        let side = self.commit_side().await?;
        let answer = eventflow_testkit::within("a commit's answer", side.answers.message()).await?;
        answer.ok_or_else(ended)
    }

    async fn ask(&mut self, frame: Ask) -> Vec<v1::CommitResult> {
        let frame_id = self.send(frame).await.expect("sent");
        let answer = self.answer().await.expect("an answer");
        assert_eq!(answer.frame_id, frame_id);
        answer.results
    }

    /// Commits under the lease that is held; answers the result.
    pub async fn commit(&mut self, partition: u32, next_offset: i64) -> v1::CommitResult {
        let lease = self.held[&partition];
        self.commit_under(lease, next_offset).await
    }

    pub async fn commit_under(&mut self, lease: v1::AssignedPartition, next_offset: i64) -> v1::CommitResult {
        self.ask(progress(lease, next_offset)).await.remove(0)
    }

    pub async fn release(&mut self, partitions: Vec<u32>) -> Vec<v1::CommitResult> {
        self.ask(Ask::Release(v1::CommitRelease { partitions })).await
    }

    /// Says what became of events; answers what was refused.
    pub async fn settle(&mut self, outcomes: Vec<v1::EventOutcome>) -> Vec<v1::OutcomeFailure> {
        let frame_id = self.send(Ask::Outcomes(v1::CommitOutcomes { outcomes })).await.expect("sent");
        let answer = self.answer().await.expect("an answer");
        assert_eq!(answer.frame_id, frame_id);
        answer.failures
    }

    /// Settles one event; answers the reason when it was refused.
    pub async fn settle_one(&mut self, event: &Event, outcome: Outcome) -> Option<String> {
        let failures = self.settle(vec![event.outcome(outcome)]).await;
        failures.into_iter().next().map(|failure| failure.error.expect("an error").reason)
    }

    /// The next events that the member settles by itself, from the log or tried again.
    pub async fn events(&mut self) -> Vec<Event> {
        self.until(|_, frame| match frame {
            Frame::Batch(batch) => Some(Event::of_batch(&batch.head)),
            Frame::Redeliveries(again) => Some(again.events.iter().map(Event::of_redelivery).collect()),
            _ => None,
        })
        .await
    }

    /// Events until there are so many.
    pub async fn some_events(&mut self, count: usize) -> Vec<Event> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.extend(self.events().await);
        }
        seen
    }

    pub async fn leave(mut self) {
        self.ask(Ask::Leave(v1::CommitLeave {})).await;
        // The session is over when its stream ends.
        while let Ok(Some(_)) = self.frames.message().await {}
    }
}

/// An event that a member has and settles by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub partition: u32,
    pub offset: i64,
    pub log_epoch: u64,
    pub lease_epoch: u64,
    pub text: String,
    pub attempt: u32,
    pub last_reason: String,
    pub in_place: bool,
}

impl Event {
    fn of_batch(batch: &EventBatch) -> Vec<Self> {
        let offset = |index: usize| match batch.offset_deltas.get(index) {
            Some(delta) => batch.base_offset + i64::from(*delta),
            None => batch.base_offset + index as i64,
        };
        let events = batch.events.iter().enumerate().map(|(index, event)| Self {
            partition: batch.partition,
            offset: offset(index),
            log_epoch: batch.log_epoch,
            lease_epoch: batch.lease_epoch,
            text: text(event),
            attempt: 1,
            last_reason: String::new(),
            in_place: false,
        });
        events.collect()
    }

    fn of_redelivery(again: &v1::Redelivery) -> Self {
        let stored = again.event.as_ref().expect("an event");
        Self {
            partition: stored.partition,
            offset: stored.offset,
            log_epoch: stored.log_epoch,
            lease_epoch: again.lease_epoch,
            text: text(stored.event.as_ref().expect("an event")),
            attempt: again.attempt,
            last_reason: again.last_reason.clone(),
            in_place: again.in_place,
        }
    }

    pub fn outcome(&self, outcome: Outcome) -> v1::EventOutcome {
        v1::EventOutcome {
            partition: self.partition,
            log_epoch: self.log_epoch,
            lease_epoch: self.lease_epoch,
            offset: Some(self.offset),
            last_offset: None,
            outcome: Some(outcome),
        }
    }
}

pub fn ack() -> Outcome {
    Outcome::Ack(v1::Ack {})
}

pub fn nack(reason: &str) -> Outcome {
    Outcome::Nack(v1::Nack { reason: reason.into(), error_class: "test".into(), ..Default::default() })
}

/// Progress in one partition, as a frame.
pub fn progress(lease: v1::AssignedPartition, next_offset: i64) -> Ask {
    let commit = v1::PartitionCommit {
        partition: lease.partition,
        log_epoch: lease.log_epoch,
        lease_epoch: lease.lease_epoch,
        next_offset: Some(next_offset),
    };
    Ask::Commit(v1::CommitProgress { commits: vec![commit] })
}

fn ended() -> Status {
    Status::ok("the stream ended")
}

/// The reason of a refused commit.
pub fn refusal(result: &v1::CommitResult) -> &str {
    &result.error.as_ref().unwrap_or_else(|| panic!("a refusal, not {result:?}")).reason
}
