//! The task of a producer: one `PublishStream` at a time, over whichever broker is there.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use eventflow_proto::v1;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::{
    Shared,
    lanes::Lanes,
    request::{Frame, PUBLISH_STREAM, PublishCodec},
    verdict::{Verdict, judge},
};
use crate::{
    call::{is_elsewhere, is_transient},
    client::Client,
    connection::{Connection, backoff},
    duplex::Answers,
    error::{Error, ErrorKind, Result, reason},
};

/// Requests that wait for the connection to take them.
const REQUESTS_QUEUED: usize = 16;
/// A broker that owes an answer for longer than this is given up.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Deadlines are looked at so many times within the delivery timeout, but never more nor less often than the two below.
const LOOKS: u32 = 8;
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_secs(1);

pub(super) struct Sender {
    client: Client,
    shared: Arc<Shared>,
    stop: CancellationToken,
    lanes: Lanes,
    tick: Pin<Box<Sleep>>,
    /// From one look at the deadlines to the next: a timer for each event would cost as much as the event.
    pause: Duration,
}

/// Why a `PublishStream` ended.
enum End {
    /// The producer was closed or dropped.
    Stopped,
    /// The connection is gone, or its broker is going.
    Lost,
    /// Another stream of the same connection is needed.
    Again,
    /// The producer cannot go on.
    Final(Error),
}

/// A `PublishStream` under way.
struct Session {
    requests: mpsc::Sender<Frame>,
    answers: Answers<v1::PublishStreamResponse>,
    /// Partition and ticket of each request whose answer is due, in order.
    due: VecDeque<(u32, u64)>,
    heard: Instant,
}

impl Session {
    fn open(connection: &Connection) -> Self {
        let (requests, frames) = mpsc::channel(REQUESTS_QUEUED);
        let mut publisher = connection.transport.publisher();
        let opening = async move {
            publisher.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let path = http::uri::PathAndQuery::from_static(PUBLISH_STREAM);
            publisher.streaming(Request::new(ReceiverStream::new(frames)), path, PublishCodec).await
        };
        Self { requests, answers: Answers::opening(opening), due: VecDeque::new(), heard: Instant::now() }
    }
}

impl Sender {
    pub(super) fn new(client: Client, shared: Arc<Shared>, stop: CancellationToken, in_flight_max: usize) -> Self {
        let pause = (shared.sizes.delivery_timeout / LOOKS).clamp(TICK_MIN, TICK_MAX);
        Self { client, shared, stop, lanes: Lanes::new(in_flight_max), tick: Box::pin(sleep(pause)), pause }
    }

    /// Runs until the producer is closed, dropped, or cannot go on.
    pub(super) async fn run(mut self) {
        let error = loop {
            let connection = match self.connect().await {
                Ok(Some(connection)) => connection,
                Ok(None) => break Error::closed("producer"),
                Err(error) => break error,
            };
            let end = self.session(&connection).await;
            self.lanes.disconnected(&self.shared);
            match end {
                End::Stopped => break Error::closed("producer"),
                End::Lost => self.client.connections().leave(&connection),
                End::Again => {}
                End::Final(error) => break error,
            }
        };
        self.shared.end(&error);
        self.lanes.abandon(&self.shared, &error);
    }

    /// A connection, however long it takes; `None` when stopped.
    async fn connect(&mut self) -> Result<Option<Connection>> {
        let connections = self.client.connections().clone();
        let mut getting = Box::pin(async move {
            loop {
                match connections.get().await {
                    Ok(connection) => return Ok(connection),
                    Err(error) if is_transient(&error) => {
                        tracing::debug!(%error, "no broker; trying again")
                    }
                    Err(error) => return Err(error),
                }
            }
        });
        loop {
            tokio::select! {
                got = &mut getting => return got.map(Some),
                () = self.stop.cancelled() => return Ok(None),
                () = &mut self.tick => self.ticked(),
            }
        }
    }

    fn ticked(&mut self) {
        let now = Instant::now();
        self.lanes.tick(&self.shared, now);
        self.tick.as_mut().reset(now + self.pause);
    }

    /// Wakes when what was told to wait may be sent again.
    fn wake_in_time(&mut self) {
        if let Some(time) = self.lanes.resume_at()
            && time < self.tick.deadline()
        {
            self.tick.as_mut().reset(time);
        }
    }

    async fn session(&mut self, connection: &Connection) -> End {
        let mut session = Session::open(connection);
        loop {
            self.lanes.look(&self.shared);
            let blocked = self.pump(&mut session);
            self.wake_in_time();
            if self.lanes.wants_fresh_stream() {
                return End::Again;
            }
            if self.lanes.wants_routing()
                && let Err(error) = self.fetch_routing().await
            {
                return if is_transient(&error) { End::Lost } else { End::Final(error) };
            }
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                answer = session.answers.next() => {
                    if let Some(end) = self.heard(&mut session, answer) {
                        return end;
                    }
                }
                () = shared.wake.notified() => {}
                room = async { session.requests.reserve().await.is_ok() }, if blocked => {
                    if !room {
                        return self.closed_by_broker(&mut session).await;
                    }
                }
                () = self.stop.cancelled() => return End::Stopped,
                () = &mut self.tick => {
                    self.ticked();
                    if !session.due.is_empty() && session.heard.elapsed() > SILENCE_MAX {
                        tracing::warn!(host = %connection.host, "the broker owes answers and is silent; leaving it");
                        return End::Lost;
                    }
                }
            }
        }
    }

    /// Sends what may be sent; true when the connection has no room for more now.
    fn pump(&mut self, session: &mut Session) -> bool {
        let now = Instant::now();
        loop {
            let Ok(permit) = session.requests.try_reserve() else {
                return true;
            };
            let Some((partition, request)) = self.lanes.next(&self.shared, now) else {
                return false;
            };
            if session.due.is_empty() {
                session.heard = now;
            }
            session.due.push_back((partition, request.ticket));
            let routing_version = self.shared.intake().routing.version;
            permit.send(Frame { stream: Arc::clone(&self.shared.stream), partition, routing_version, request });
        }
    }

    fn heard(
        &mut self,
        session: &mut Session,
        answer: Result<Option<v1::PublishStreamResponse>, Status>,
    ) -> Option<End> {
        session.heard = Instant::now();
        let response = match answer {
            Ok(Some(response)) => response,
            Ok(None) => return Some(End::Lost),
            Err(status) => return Some(ended(Error::from(status))),
        };
        let Some((partition, ticket)) = session.due.pop_front() else {
            return Some(End::Final(Error::protocol("the broker answered what nobody asked")));
        };
        match judge(partition, response, session.heard) {
            Verdict::Answer(answer) => self.lanes.answered(&self.shared, partition, ticket, answer),
            Verdict::AnswerThenLeave(answer) => {
                self.lanes.answered(&self.shared, partition, ticket, answer);
                return Some(End::Lost);
            }
            Verdict::Fenced(error) => return Some(End::Final(error)),
        }
        None
    }

    /// The request half is closed; the answering half says why.
    async fn closed_by_broker(&mut self, session: &mut Session) -> End {
        loop {
            match timeout(Duration::from_secs(1), session.answers.next()).await {
                Ok(answer) => {
                    if let Some(end) = self.heard(session, answer) {
                        return end;
                    }
                }
                Err(_) => return End::Lost,
            }
        }
    }

    /// Asks where keys go now. The broker's answer may be older than its refusal: then asks again.
    async fn fetch_routing(&mut self) -> Result<()> {
        let known = self.shared.intake().routing;
        for attempt in 0..10 {
            let routing = super::builder::routing(&self.client, &self.shared.stream).await?;
            if routing.version != known.version || routing.partitions != known.partitions {
                self.lanes.reroute(&self.shared, routing);
                return Ok(());
            }
            sleep(backoff(attempt)).await;
        }
        // The same version after all: perhaps the refusal was a mistake. Go on by it.
        self.lanes.reroute(&self.shared, known);
        Ok(())
    }
}

/// What the end of a stream means.
fn ended(error: Error) -> End {
    if is_elsewhere(&error) || is_transient(&error) {
        return End::Lost;
    }
    match error.kind() {
        ErrorKind::DeadlineExceeded | ErrorKind::ResourceExhausted | ErrorKind::Internal | ErrorKind::Cancelled => {
            End::Lost
        }
        _ if error.reason() == reason::CONNECTION_LOST => End::Lost,
        _ => End::Final(error),
    }
}
