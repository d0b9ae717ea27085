//! What a member does with each frame, answer and tick of its session.

use std::{collections::VecDeque, sync::Arc};

use eventflow_proto::v1::{self, subscribe_response::Frame};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tonic::Status;

use super::{
    batch::Batch,
    buffer::Delivery,
    ledger::Grant,
    link::Link,
    member::{Command, End, MemberTask},
    notice::Notice,
    session::{Session, TICK},
};
use crate::{
    call::is_elsewhere,
    convert::{duration_from_wire, time_from_wire},
    error::Error,
};

/// Commit streams that may break in a row before the session is given up.
const BROKEN_LINKS_MAX: u32 = 3;

impl MemberTask {
    /// Runs one membership to its end.
    pub(super) async fn serve(&mut self, session: &mut Session) -> End {
        self.ledger.joined(session.kept);
        self.buffer.purge();
        let tick = sleep(TICK);
        tokio::pin!(tick);
        loop {
            if let Some(end) = self.advance(session) {
                return end;
            }
            let buffer = Arc::clone(&self.buffer);
            tokio::select! {
                frame = session.subscription.message() => {
                    session.heard = Instant::now();
                    let end = match frame {
                        Ok(Some(v1::SubscribeResponse { frame: Some(frame) })) => self.frame(session, frame),
                        Ok(Some(_)) => None,
                        Ok(None) => Some(End::Lost),
                        Err(status) => Some(self.ended(status.into())),
                    };
                    if let Some(end) = end {
                        return end;
                    }
                }
                answer = session.link.next() => {
                    if let Some(end) = self.answer(session, answer) {
                        return end;
                    }
                }
                () = buffer.attention.notified() => {}
                command = next_command(&mut self.early, &mut self.commands), if session.settled => match command {
                    Some(Command::Commit { positions, reply }) => {
                        self.waiters.add(&mut self.ledger, positions, reply);
                    }
                    Some(Command::Close { reply }) => return End::Close(Some(reply)),
                    None => return End::Close(None),
                },
                () = self.stop.cancelled() => return End::Close(None),
                () = &mut tick => {
                    session.link.heartbeat(session.silence_max / 3);
                    if session.heard.elapsed() > session.silence_max {
                        tracing::warn!(host = %session.connection.host, "the broker is silent; leaving it");
                        return End::Lost;
                    }
                    tick.as_mut().reset(Instant::now() + TICK);
                }
            }
        }
    }

    /// Sends what should be committed or released now. The end, when the broker is going and all is said.
    fn advance(&mut self, session: &mut Session) -> Option<End> {
        if session.settled {
            self.waiters.answer(&mut self.ledger);
        }
        let now = Instant::now();
        if session.link.is_free() && now >= session.commit_not_before {
            let due = match self.auto_commit {
                None => true,
                Some(_) if session.going.is_some() || self.ledger.is_draining() || !self.waiters.is_empty() => true,
                Some(_) => now >= session.commit_due || self.buffer.take_worth(),
            };
            if due {
                let commits = self.ledger.take_commits();
                if !commits.is_empty() {
                    session.link.commit(commits);
                }
                session.commit_due = now + self.auto_commit.unwrap_or_default();
            }
            let released = self.ledger.take_releases();
            if !released.is_empty() {
                session.link.release(released);
            }
        }
        let going = session.going?;
        (session.link.is_free() || now >= going).then_some(End::Lost)
    }

    fn frame(&mut self, session: &mut Session, frame: Frame) -> Option<End> {
        match frame {
            Frame::Session(_) => return Some(End::Final(Error::protocol("a session began twice"))),
            Frame::Batch(batch) => self.batch(session, batch.head),
            Frame::Assigned(assigned) => {
                let grants: Vec<Grant> = assigned.partitions.iter().map(Grant::from).collect();
                for grant in &grants {
                    self.ledger.assigned(*grant);
                }
                self.buffer.purge();
                let partitions = grants.iter().map(|grant| (grant.partition, grant.next_offset)).collect();
                self.tell(Notice::Assigned { partitions });
                self.settled(session);
            }
            Frame::Revoking(revoking) => {
                revoking.partitions.iter().for_each(|partition| self.ledger.revoking(*partition));
                self.buffer.purge();
                let deadline = time_from_wire(&revoking.deadline.unwrap_or_default());
                self.tell(Notice::Revoking { partitions: revoking.partitions, deadline });
            }
            Frame::Lost(lost) => {
                lost.partitions.iter().for_each(|partition| self.ledger.lost(*partition));
                self.buffer.purge();
                self.tell(Notice::Revoked { partitions: lost.partitions });
            }
            Frame::Heartbeat(_) => self.settled(session),
            Frame::Repositioned(v1::Repositioned { partition: Some(partition) }) => {
                let grant = Grant::from(&partition);
                self.ledger.repositioned(grant);
                self.buffer.purge();
                self.tell(Notice::Repositioned { partition: grant.partition, next_offset: grant.next_offset });
            }
            Frame::Repositioned(_) => {}
            Frame::Truncated(truncated) => self.truncated(&truncated),
            Frame::Redeliveries(again) => {
                // In place only: a consumer does not ask for others.
                for event in again.events.into_iter().filter(|event| event.in_place) {
                    if let Some(batch) = batch_of(event) {
                        self.batch(session, batch);
                    }
                }
            }
            Frame::GoAway(go_away) => {
                let grace = go_away.grace.as_ref().map(duration_from_wire).unwrap_or_default();
                tracing::debug!(reason = go_away.reason, "the broker is going away");
                session.going = Some(Instant::now() + grace.min(TICK * 4));
            }
        }
        None
    }

    fn batch(&mut self, session: &Session, wire: eventflow_proto::EventBatch) {
        let (partition, lease_epoch, next_offset) = (wire.partition, wire.lease_epoch, wire.next_offset);
        let Some((lease, taken)) = self.ledger.delivered(partition, lease_epoch, next_offset) else {
            tracing::debug!(partition, lease_epoch, "a batch under a lease that is not held");
            return;
        };
        if next_offset <= taken {
            return;
        }
        let bytes = wire.events.iter().map(payload_bytes).sum();
        let mut batch = Batch::from_wire(&session.stream, wire);
        batch.skip_below(taken);
        self.buffer.push(Delivery { lease, batch, bytes });
    }

    fn truncated(&mut self, truncated: &v1::Truncated) {
        if truncated.resumed {
            self.ledger.truncated(truncated.partition, truncated.to_offset);
        }
        tracing::warn!(
            partition = truncated.partition,
            from = truncated.from_offset,
            to = truncated.to_offset,
            "events were removed before the group had read them"
        );
        self.tell(Notice::Truncated {
            partition: truncated.partition,
            from_offset: truncated.from_offset,
            to_offset: truncated.to_offset,
            resumed: truncated.resumed,
        });
    }

    /// The broker has said what the session holds; after a reconnect that is worth a notice.
    fn settled(&mut self, session: &mut Session) {
        session.settled = true;
        if let Some(since) = self.away_since.take() {
            let (after, resumed_at) = (since.elapsed(), self.ledger.positions());
            tracing::info!(?after, broker = session.broker, "reconnected");
            self.tell(Notice::Reconnected { after, broker: session.broker.clone(), resumed_at });
        }
    }

    fn answer(&mut self, session: &mut Session, answer: Result<Option<v1::CommitResponse>, Status>) -> Option<End> {
        let error = match answer {
            Ok(Some(response)) => {
                session.broken_links = 0;
                self.committed(session, response);
                return None;
            }
            Ok(None) => None,
            Err(status) => Some(Error::from(status)),
        };
        for commit in session.link.unanswered() {
            self.ledger.unconfirmed(commit);
        }
        session.broken_links += 1;
        match error {
            Some(error) if is_elsewhere(&error) => return Some(End::Lost),
            Some(error) if matches!(error.reason(), "SESSION_NOT_FOUND" | "SESSION_ELSEWHERE" | "SESSION_EXPIRED") => {
                return Some(End::Again);
            }
            Some(error) if self.is_final(&error) => return Some(End::Final(error)),
            _ if session.broken_links > BROKEN_LINKS_MAX => return Some(End::Lost),
            _ => {}
        }
        // Losing the Commit stream alone does not end the session.
        session.link = Link::open(&session.connection, &session.id);
        None
    }

    /// Books the results of a commit. The error of one that was not made and may not be repeated.
    pub(super) fn committed(&mut self, session: &mut Session, response: v1::CommitResponse) -> Option<Error> {
        let mut refused = None;
        for commit in session.link.answered(response.frame_id)? {
            let result = response.results.iter().find(|result| result.partition == commit.partition);
            let Some(status) = result.and_then(|result| result.error.clone()) else {
                let committed = result.and_then(|result| result.committed_offset);
                self.ledger.confirmed(commit, committed.unwrap_or(commit.next_offset));
                continue;
            };
            let error = Error::from(status);
            match error.reason() {
                "MEMBER_FENCED" => {
                    self.ledger.lost(commit.partition);
                    self.buffer.purge();
                }
                // The broker says where to go on in a frame of its own.
                "SEEK_FENCED" => {}
                "COMMIT_OUT_OF_RANGE" => tracing::error!(%error, "a commit was out of range"),
                _ => {
                    self.ledger.unconfirmed(commit);
                    let pause = error.retry_after().unwrap_or(TICK).max(TICK);
                    session.commit_not_before = Instant::now() + pause;
                    continue;
                }
            }
            refused = Some(error);
        }
        refused
    }

    fn ended(&self, error: Error) -> End {
        tracing::debug!(%error, "the subscription ended");
        if self.is_final(&error) {
            End::Final(error)
        } else if is_elsewhere(&error) {
            End::Lost
        } else {
            End::Again
        }
    }
}

/// An event that is tried again, as a batch.
pub(crate) fn batch_of(again: v1::Redelivery) -> Option<eventflow_proto::EventBatch> {
    let stored = again.event?;
    let publishers = (!stored.publisher.is_empty())
        .then_some(v1::PublisherRun { publisher: stored.publisher, event_count: 1 })
        .into_iter()
        .collect();
    Some(eventflow_proto::EventBatch {
        partition: stored.partition,
        log_epoch: stored.log_epoch,
        lease_epoch: again.lease_epoch,
        base_offset: stored.offset,
        next_offset: stored.offset + 1,
        events: stored.event.into_iter().collect(),
        offset_deltas: Vec::new(),
        append_time: stored.append_time,
        publishers,
    })
}

/// The next thing that the application asks for; `None` when it is gone. Cancel-safe.
async fn next_command(early: &mut VecDeque<Command>, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
    match early.pop_front() {
        Some(command) => Some(command),
        None => commands.recv().await,
    }
}

fn payload_bytes(event: &v1::Event) -> u64 {
    match &event.payload {
        Some(v1::event::Payload::Data(data)) => data.len() as u64,
        Some(v1::event::Payload::Text(text)) => text.len() as u64,
        _ => 0,
    }
}

impl From<&v1::AssignedPartition> for Grant {
    fn from(assigned: &v1::AssignedPartition) -> Self {
        Self {
            partition: assigned.partition,
            log_epoch: assigned.log_epoch,
            lease_epoch: assigned.lease_epoch,
            next_offset: assigned.next_offset,
        }
    }
}
