//! The task of a worker: one membership after the other, until it is closed or cannot go on.

use std::{sync::Arc, time::Duration};

use eventflow_proto::v1::{self, subscribe_response::Frame};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    outbox::{self, Said, Which},
    queues::Queues,
    shared::{Shared, Waiting, refuse},
};
use crate::{
    client::Client,
    connection::backoff,
    consumer::{
        batch::Batch,
        link::Link,
        member::is_final,
        serve::batch_of,
        session::{Session, TICK, join},
    },
    error::{Error, ErrorKind, Result, reason},
};

/// How long closing may take, with its last outcomes.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// Commit streams that may break in a row before the session is given up.
const BROKEN_LINKS_MAX: u32 = 3;

/// See the [module](self).
pub(super) struct Membership {
    pub(super) client: Client,
    pub(super) request: v1::SubscribeRequest,
    /// The application chose the name, so that somebody else may choose it too.
    pub(super) is_named: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
    /// Memberships so far.
    pub(super) generation: u64,
    pub(super) queues: Queues,
}

/// Why a membership ended.
enum End {
    /// Closed or dropped.
    Close,
    /// Come back, over another connection.
    Lost,
    /// Come back, over the same connection.
    Again,
    /// The worker cannot go on.
    Final(Error),
}

/// What is on its way to the broker.
#[derive(Default)]
struct Sent {
    /// Outcomes whose answer is due.
    outcomes: Option<(u64, Vec<Said>)>,
    extended: Option<Instant>,
    broken: u32,
}

impl Membership {
    pub(super) async fn run(mut self, first: Session) {
        let mut session = first;
        let error = loop {
            let mut sent = Sent::default();
            let end = self.serve(&mut session, &mut sent).await;
            let on_way = sent.outcomes.take();
            match end {
                End::Close => {
                    let reply = self.shared.take_closing();
                    let left = timeout(CLOSE_MAX, self.leave(session, on_way)).await;
                    if let Some(reply) = reply {
                        let _ = reply.send(left.unwrap_or_else(|_| Err(left_unsaid())));
                    }
                    break None;
                }
                End::Final(error) => {
                    refuse_sent(on_way);
                    break Some(error);
                }
                End::Lost => self.client.connections().leave(&session.connection),
                End::Again => {}
            }
            refuse_sent(on_way);
            drop(session);
            self.begin_anew();
            match self.rejoin().await {
                Ok(Some(next)) => session = next,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let closing = self.shared.take_closing();
        self.shared.end(error);
        if let Some(reply) = closing {
            let _ = reply.send(Err(left_unsaid()));
        }
    }

    /// What the membership before was given is not this one's.
    fn begin_anew(&mut self) {
        self.generation += 1;
        self.queues = Queues::default();
        self.shared.retain(|_| false);
        refuse(self.shared.take_said());
    }

    async fn rejoin(&mut self) -> Result<Option<Session>> {
        let mut attempt = 0;
        loop {
            let joining = async {
                if attempt > 0 {
                    sleep(backoff(attempt)).await;
                }
                join(&self.client, self.request.clone()).await
            };
            let joined = tokio::select! {
                joined = joining => joined,
                () = self.closed() => return Ok(None),
            };
            match joined {
                Ok(session) => return Ok(Some(session)),
                Err(error) if is_final(&error, self.is_named) => return Err(error),
                Err(error) => tracing::debug!(%error, attempt, "could not join the group; trying again"),
            }
            attempt += 1;
        }
    }

    /// Returns when the worker is to be closed.
    async fn closed(&self) {
        loop {
            if self.shared.is_closing() {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.shared.attention.notified() => {}
            }
        }
    }

    async fn serve(&mut self, session: &mut Session, sent: &mut Sent) -> End {
        let tick = sleep(TICK);
        tokio::pin!(tick);
        let mut going: Option<Instant> = None;
        loop {
            if self.shared.is_closing() {
                return End::Close;
            }
            self.say(session, sent);
            if going.is_some_and(|going| Instant::now() >= going && sent.outcomes.is_none()) {
                return End::Lost;
            }
            tokio::select! {
                frame = session.subscription.message() => {
                    session.heard = Instant::now();
                    match frame {
                        Ok(Some(v1::SubscribeResponse { frame: Some(Frame::GoAway(_)) })) => {
                            // What is in the application's hands may still be said for a moment.
                            going = Some(Instant::now() + TICK * 2);
                        }
                        Ok(Some(v1::SubscribeResponse { frame: Some(frame) })) => self.frame(session, frame),
                        Ok(Some(_)) => {}
                        Ok(None) => return End::Lost,
                        Err(status) => return self.ended(status.into()),
                    }
                }
                answer = session.link.next() => {
                    if let Some(end) = self.answer(session, sent, answer) {
                        return end;
                    }
                }
                () = self.shared.attention.notified() => {}
                () = self.stop.cancelled() => return End::Close,
                () = &mut tick => {
                    session.link.heartbeat(session.silence_max / 3);
                    if session.heard.elapsed() > session.silence_max {
                        tracing::warn!(host = %session.connection.host, "the broker is silent; leaving it");
                        return End::Lost;
                    }
                    self.extend(session, sent);
                    tick.as_mut().reset(Instant::now() + TICK.min(session.ack_timeout / 6));
                }
            }
        }
    }

    /// Sends what became of events, one frame at a time: the next one takes all that was said meanwhile.
    fn say(&mut self, session: &mut Session, sent: &mut Sent) {
        if sent.outcomes.is_some() {
            return;
        }
        let (mut said, stale): (Vec<Said>, Vec<Said>) = (self.shared.take_said().into_iter())
            .partition(|said| said.which.generation == self.generation && self.queues.holds(&said.which));
        refuse(stale);
        if said.is_empty() {
            return;
        }
        let (outcomes, now) = outbox::frame(&mut said);
        self.shared.say_later(said);
        let next: Vec<Waiting> = (now.iter())
            .filter_map(|said| self.queues.settled(&said.which, session.blocks && said.failure.is_some()))
            .collect();
        self.shared.push(next);
        match session.link.outcomes(outcomes) {
            Some(frame) => sent.outcomes = Some((frame, now)),
            // A link without room is broken, and the session with it.
            None => refuse(now),
        }
    }

    /// Asks for more time for everything that is held: what waits here, and what the application takes long for.
    fn extend(&mut self, session: &mut Session, sent: &mut Sent) {
        let every = session.ack_timeout / 3;
        let since = *sent.extended.get_or_insert_with(Instant::now);
        if since.elapsed() < every {
            return;
        }
        sent.extended = Some(Instant::now());
        let extension = outbox::extension(self.queues.held());
        if session.shared && !extension.outcomes.is_empty() {
            session.link.outcomes(extension);
        }
    }

    fn frame(&mut self, session: &Session, frame: Frame) {
        match frame {
            Frame::Batch(batch) => {
                let waiting = self.waiting(session, batch.head, (1, String::new(), String::new()));
                self.arrived(waiting, session.shared);
            }
            Frame::Redeliveries(again) => {
                for event in again.events {
                    let is_free = session.shared || !event.in_place;
                    let why = (event.attempt, event.last_reason.clone(), event.last_error_class.clone());
                    if let Some(batch) = batch_of(event) {
                        let waiting = self.waiting(session, batch, why);
                        self.arrived(waiting, is_free);
                    }
                }
            }
            Frame::Lost(lost) => lost.partitions.iter().for_each(|partition| self.forget(*partition)),
            Frame::Repositioned(v1::Repositioned { partition: Some(partition) }) => self.forget(partition.partition),
            // A partition that stays comes again from its progress on.
            Frame::Assigned(assigned) => {
                assigned.partitions.iter().for_each(|lease| self.forget(lease.partition));
            }
            Frame::Truncated(truncated) => tracing::warn!(
                partition = truncated.partition,
                from = truncated.from_offset,
                to = truncated.to_offset,
                "events were removed before the group had read them"
            ),
            _ => {}
        }
    }

    fn arrived(&mut self, waiting: Vec<Waiting>, is_free: bool) {
        if is_free {
            let free = self.queues.free(waiting);
            self.shared.push(free);
        } else {
            let next = self.queues.in_order(waiting);
            self.shared.push(next);
        }
    }

    fn forget(&mut self, partition: u32) {
        self.queues.forget(partition);
        self.shared.retain(|which| which.partition != partition);
    }

    fn waiting(
        &self,
        session: &Session,
        batch: eventflow_proto::EventBatch,
        (attempt, last_reason, last_class): (u32, String, String),
    ) -> Vec<Waiting> {
        let (log_epoch, lease_epoch) = (batch.log_epoch, batch.lease_epoch);
        let generation = self.generation;
        let records = Batch::from_wire(&session.stream, batch).into_iter();
        let waiting = records.map(|record| Waiting {
            which: Which { generation, partition: record.partition(), log_epoch, lease_epoch, offset: record.offset() },
            record,
            attempt,
            last_reason: last_reason.clone(),
            last_class: last_class.clone(),
        });
        waiting.collect()
    }

    fn answer(
        &mut self,
        session: &mut Session,
        sent: &mut Sent,
        answer: Result<Option<v1::CommitResponse>, Status>,
    ) -> Option<End> {
        let error = match answer {
            Ok(Some(response)) => {
                sent.broken = 0;
                if let Some((_, said)) = sent.outcomes.take_if(|(frame, _)| *frame == response.frame_id) {
                    outbox::answer(said, &response.failures);
                }
                return None;
            }
            Ok(None) => None,
            Err(status) => Some(Error::from(status)),
        };
        // Whether they were taken, nobody knows; if not, the events come again.
        refuse_sent(sent.outcomes.take());
        sent.broken += 1;
        match error {
            Some(error) if is_final(&error, self.is_named) => Some(End::Final(error)),
            Some(error) if error.reason().starts_with("SESSION_") => Some(End::Again),
            _ if sent.broken > BROKEN_LINKS_MAX => Some(End::Lost),
            _ => {
                // Losing the Commit stream alone does not end the session.
                session.link = Link::open(&session.connection, &session.id);
                None
            }
        }
    }

    fn ended(&self, error: Error) -> End {
        tracing::debug!(%error, "the subscription ended");
        if is_final(&error, self.is_named) {
            End::Final(error)
        } else if crate::call::is_elsewhere(&error) {
            End::Lost
        } else {
            End::Again
        }
    }

    /// Says what is to be said, frame by frame, and leaves. `on_way` was said before, and is not answered yet.
    async fn leave(&mut self, mut session: Session, mut on_way: Option<(u64, Vec<Said>)>) -> Result<()> {
        let (mut said, stale): (Vec<Said>, Vec<Said>) = (self.shared.take_said().into_iter())
            .partition(|said| said.which.generation == self.generation && self.queues.holds(&said.which));
        refuse(stale);
        let (mut leaving, mut outcome) = (None, Ok(()));
        loop {
            if on_way.is_none() && leaving.is_none() {
                if said.is_empty() {
                    leaving = session.link.leave();
                } else {
                    let (outcomes, now) = outbox::frame(&mut said);
                    match session.link.outcomes(outcomes) {
                        Some(frame) => on_way = Some((frame, now)),
                        None => said.extend(now),
                    }
                }
                if on_way.is_none() && leaving.is_none() {
                    break;
                }
            }
            let Some(response) = session.link.next().await? else { break };
            if Some(response.frame_id) == leaving {
                break;
            }
            if let Some(failure) = response.failures.first() {
                outcome = Err(Error::from(failure.error.clone().unwrap_or_default()));
            }
            if let Some((_, said)) = on_way.take_if(|(frame, _)| *frame == response.frame_id) {
                outbox::answer(said, &response.failures);
            }
        }
        if said.is_empty() && on_way.is_none() { outcome } else { Err(left_unsaid()) }
    }
}

/// What was said and not answered: whether it was taken, nobody knows.
fn refuse_sent(sent: Option<(u64, Vec<Said>)>) {
    refuse(sent.map(|(_, said)| said).unwrap_or_default());
}

fn left_unsaid() -> Error {
    let message = "the last outcomes could not be written before leaving; their events come again";
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_LOST, message)
}
