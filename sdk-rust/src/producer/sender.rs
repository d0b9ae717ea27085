//! The task that sends for all producers of one stream: one `PublishStream` at a time, over whichever broker is there.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use eventflow_proto::v1;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::{
    hub::Hub,
    intake::Routing,
    request::{Frame, PUBLISH_STREAM, PublishCodec},
    source::Source,
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
/// Answers that are taken in before more is sent.
const ANSWERS_AT_ONCE: usize = 64;
/// A broker that owes an answer for longer than this is given up.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Deadlines are looked at so many times within the delivery timeout, but never more nor less often than the two below.
const LOOKS: u32 = 8;
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_secs(1);

type Asking = Pin<Box<dyn Future<Output = (u64, Result<Routing>)> + Send>>;

pub(super) struct Sender {
    client: Client,
    hub: Arc<Hub>,
    stop: CancellationToken,
    sources: BTreeMap<u64, Source>,
    /// Producers that may have something to send, in turn.
    line: VecDeque<u64>,
    /// New routings that are being asked for.
    asking: FuturesUnordered<Asking>,
    /// Somebody's next request belongs on another `PublishStream`.
    wants_fresh_stream: bool,
    tick: Pin<Box<Sleep>>,
    /// From one look at the deadlines to the next: a timer for each event would cost as much as the event.
    pause: Duration,
}

/// Why a `PublishStream` ended.
enum End {
    /// No producer is left.
    Idle,
    /// The connection is gone, or its broker is going.
    Lost,
    /// Another stream of the same connection is needed.
    Again,
    /// The producers cannot go on.
    Final(Error),
}

/// A `PublishStream` under way.
struct Session {
    requests: mpsc::Sender<Frame>,
    answers: Answers<v1::PublishStreamResponse>,
    /// Producer, partition and ticket of each request whose answer is due, in order.
    due: VecDeque<(u64, u32, u64)>,
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
    pub(super) fn new(client: Client, hub: Arc<Hub>) -> Self {
        let stop = client.tasks().stop.clone();
        Self {
            client,
            hub,
            stop,
            sources: BTreeMap::new(),
            line: VecDeque::new(),
            asking: FuturesUnordered::new(),
            wants_fresh_stream: false,
            tick: Box::pin(sleep(TICK_MAX)),
            pause: TICK_MAX,
        }
    }

    /// Runs until no producer is left.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(error) = self.serve().await {
                std::mem::take(&mut self.sources).into_values().for_each(|source| source.end(&error));
            }
            if self.hub.retire() {
                return;
            }
        }
    }

    /// Sends until nobody is left, or nobody can go on.
    async fn serve(&mut self) -> Result<()> {
        loop {
            let Some(connection) = self.connect().await? else { return Ok(()) };
            let end = self.session(&connection).await;
            self.disconnected();
            match end {
                End::Idle => return Ok(()),
                End::Lost => self.client.connections().leave(&connection),
                End::Again => {}
                End::Final(error) => return Err(error),
            }
        }
    }

    /// A connection, however long it takes; `None` when no producer is left.
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
        let hub = Arc::clone(&self.hub);
        loop {
            self.look();
            if self.sources.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                got = &mut getting => return got.map(Some),
                () = self.stop.cancelled() => return Err(Error::closed("producer")),
                () = hub.told() => {}
                () = &mut self.tick => self.ticked(),
            }
        }
    }

    async fn session(&mut self, connection: &Connection) -> End {
        let mut session = Session::open(connection);
        let hub = Arc::clone(&self.hub);
        loop {
            self.look();
            if self.sources.is_empty() {
                return End::Idle;
            }
            let blocked = self.pump(&mut session);
            if self.wants_fresh_stream {
                return End::Again;
            }
            tokio::select! {
                answer = session.answers.next() => {
                    if let Some(end) = self.heard_all(&mut session, answer) {
                        return end;
                    }
                }
                Some((id, routing)) = self.asking.next(), if !self.asking.is_empty() => self.reroute(id, routing),
                () = hub.told() => {}
                room = async { session.requests.reserve().await.is_ok() }, if blocked => {
                    if !room {
                        return self.closed_by_broker(&mut session).await;
                    }
                }
                () = self.stop.cancelled() => return End::Final(Error::closed("producer")),
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

    /// Takes in who has joined, who has gathered something, and who has ended.
    fn look(&mut self) {
        let (joining, news) = self.hub.take();
        for source in joining {
            let pause = source.shared.sizes.delivery_timeout / LOOKS;
            self.pause = self.pause.min(pause.max(TICK_MIN));
            self.wake_by(Instant::now() + self.pause);
            self.sources.insert(source.shared.id, source);
        }
        for id in news {
            if self.sources.get_mut(&id).is_none_or(Source::look) {
                self.queue(id);
            } else {
                self.end(id, &Error::closed("producer"));
            }
        }
    }

    fn end(&mut self, id: u64, error: &Error) {
        if let Some(source) = self.sources.remove(&id) {
            source.end(error);
        }
    }

    /// Puts a producer into the line.
    fn queue(&mut self, id: u64) {
        if let Some(source) = self.sources.get_mut(&id)
            && !std::mem::replace(&mut source.is_in_line, true)
        {
            self.line.push_back(id);
        }
    }

    fn queue_all(&mut self) {
        let all: Vec<u64> = self.sources.keys().copied().collect();
        all.into_iter().for_each(|id| self.queue(id));
    }

    fn ticked(&mut self) {
        let now = Instant::now();
        self.tick.as_mut().reset(now + self.pause);
        let mut first = None;
        for source in self.sources.values_mut() {
            source.lanes.tick(&source.shared, now);
            first = first.into_iter().chain(source.lanes.resume_at()).min();
        }
        first.into_iter().for_each(|time| self.wake_by(time));
        self.queue_all();
    }

    /// Ticks at the given time at the latest.
    fn wake_by(&mut self, time: Instant) {
        if time < self.tick.deadline() {
            self.tick.as_mut().reset(time);
        }
    }

    /// The `PublishStream` has ended.
    fn disconnected(&mut self) {
        self.wants_fresh_stream = false;
        self.sources.values_mut().for_each(|source| source.lanes.disconnected(&source.shared));
        self.queue_all();
    }

    /// Sends what may be sent, of each producer in turn; true when the connection has no room for more now.
    fn pump(&mut self, session: &mut Session) -> bool {
        let now = Instant::now();
        while let Some(&id) = self.line.front() {
            let Some(source) = self.sources.get_mut(&id) else {
                self.line.pop_front();
                continue;
            };
            let Ok(permit) = session.requests.try_reserve() else {
                return true;
            };
            let Some((partition, request)) = source.lanes.next(&source.shared, now) else {
                source.is_in_line = false;
                self.line.pop_front();
                self.at_rest(id);
                continue;
            };
            if session.due.is_empty() {
                session.heard = now;
            }
            session.due.push_back((id, partition, request.ticket));
            let routing_version = source.shared.intake().routing.version;
            permit.send(Frame { stream: Arc::clone(&source.shared.stream), partition, routing_version, request });
            self.line.rotate_left(1);
        }
        false
    }

    /// A producer has nothing to send now: perhaps it waits for a new stream, or for its new routing.
    fn at_rest(&mut self, id: u64) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        self.wants_fresh_stream |= source.lanes.wants_fresh_stream();
        if source.lanes.wants_routing() && !std::mem::replace(&mut source.is_rerouting, true) {
            let (client, stream) = (self.client.clone(), Arc::clone(&source.shared.stream));
            let known = source.shared.intake().routing;
            self.asking.push(Box::pin(async move { (id, changed_routing(&client, &stream, known).await) }));
        }
    }

    fn reroute(&mut self, id: u64, routing: Result<Routing>) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        source.is_rerouting = false;
        match routing {
            Ok(routing) if source.lanes.wants_routing() => source.lanes.reroute(&source.shared, routing),
            Ok(_) => {}
            Err(error) => return self.end(id, &error),
        }
        self.queue(id);
    }

    /// Takes an answer, and those that are there already.
    fn heard_all(
        &mut self,
        session: &mut Session,
        first: Result<Option<v1::PublishStreamResponse>, Status>,
    ) -> Option<End> {
        let mut end = self.heard(session, first);
        for _ in 1..ANSWERS_AT_ONCE {
            if end.is_some() || session.due.is_empty() {
                break;
            }
            let Some(answer) = session.answers.next().now_or_never() else { break };
            end = self.heard(session, answer);
        }
        end
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
        let Some((id, partition, ticket)) = session.due.pop_front() else {
            return Some(End::Final(Error::protocol("the broker answered what nobody asked")));
        };
        let (answer, end) = match judge(partition, response, session.heard) {
            Verdict::Answer(answer) => (answer, None),
            Verdict::AnswerThenLeave(answer) => (answer, Some(End::Lost)),
            Verdict::Fenced(error) => {
                self.end(id, &error);
                return None;
            }
        };
        // A producer that has ended does not need its answer.
        if let Some(source) = self.sources.get_mut(&id) {
            source.lanes.answered(&source.shared, partition, ticket, answer);
            let resume_at = source.lanes.resume_at();
            resume_at.into_iter().for_each(|time| self.wake_by(time));
            self.queue(id);
        }
        end
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
}

/// Asks where keys go now. The broker's answer may be older than its refusal: then asks again.
async fn changed_routing(client: &Client, stream: &str, known: Routing) -> Result<Routing> {
    for attempt in 0..10 {
        match super::builder::routing(client, stream).await {
            Ok(routing) if routing.version != known.version || routing.partitions != known.partitions => {
                return Ok(routing);
            }
            Err(error) if !is_transient(&error) => return Err(error),
            _ => sleep(backoff(attempt)).await,
        }
    }
    // The same version after all: perhaps the refusal was a mistake. Go on by it.
    Ok(known)
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
