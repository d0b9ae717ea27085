//! One proxied session: the opening, then a pump for each direction, with rules between them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::Shared;
use super::frame::{Frame, Opening};
use super::rules::{Ending, RuleState, Step};
use super::tracker::{Request, Tracker};
use crate::upstream::{Duplex, Upstream};

/// Why a pump stopped.
enum Stopped {
    /// Its sender has finished, or a side broke.
    Itself,
    ByRule(Ending),
}

impl From<io::Error> for Stopped {
    fn from(_: io::Error) -> Stopped {
        Stopped::Itself
    }
}

impl From<Ending> for Stopped {
    fn from(ending: Ending) -> Stopped {
        Stopped::ByRule(ending)
    }
}

/// What both pumps of a session know.
#[derive(Default)]
struct Session {
    tracker: Tracker,
    /// Rules that wait for the answer of a cycle.
    awaiting: Vec<(u64, Arc<RuleState>)>,
}

impl Session {
    fn waits_for_reply(&self, cycle: u64) -> bool {
        let mut rules = self.awaiting.iter();
        rules.any(|(of, rule)| *of == cycle && rule.step == Step::BeforeReply)
    }

    fn take_rules(&mut self, cycle: u64) -> Vec<Arc<RuleState>> {
        let done = self.awaiting.extract_if(.., |(of, _)| *of == cycle);
        done.map(|(_, rule)| rule).collect()
    }
}

pub(super) async fn run(client: TcpStream, upstream: Upstream, shared: Arc<Shared>) {
    let open = Open::new(&shared);
    let number = open.number;
    let mut cut = shared.cut_below.subscribe();
    tokio::select! {
        () = proxy(client, upstream, &shared) => {}
        _ = cut.wait_for(|below| number < *below) => {}
    }
}

/// Counts the session as open while it lives, however it ends.
struct Open<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        let mut number = 0;
        shared.counts.send_modify(|counts| {
            number = counts.connections;
            counts.connections += 1;
            counts.open += 1;
        });
        Open { shared, number }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.counts.send_modify(|counts| counts.open -= 1);
    }
}

async fn proxy(mut client: TcpStream, upstream: Upstream, shared: &Shared) {
    let Ok(Some(startup)) = open_session(&mut client, &upstream, shared).await else {
        return;
    };
    let Ok(mut server) = upstream.connect().await else {
        let _ = client.set_zero_linger();
        return;
    };
    if server.write_all(&startup).await.is_err() {
        return;
    }
    let session = Mutex::new(Session::default());
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let stopped = {
        let (from_client, to_client) = client.split();
        let requests = pump_requests(from_client, &mut to_server, &session, shared);
        let answers = pump_answers(&mut from_server, to_client, &session, shared);
        tokio::select! {
            Err(stopped) = requests => stopped,
            Err(stopped) = answers => stopped,
            else => Stopped::Itself,
        }
    };
    end(client, from_server, to_server, stopped).await;
}

/// Answers requests for encryption and forwards a cancellation. Returns what starts the session.
async fn open_session(client: &mut TcpStream, upstream: &Upstream, shared: &Shared) -> io::Result<Option<Vec<u8>>> {
    loop {
        match Opening::read(client).await? {
            None => return Ok(None),
            Some(Opening::Encryption) => client.write_all(b"N").await?,
            Some(Opening::Startup(bytes)) => return Ok(Some(bytes)),
            Some(Opening::Cancel(bytes)) => {
                shared.counts.send_modify(|counts| counts.cancels += 1);
                let mut server = upstream.connect().await?;
                server.write_all(&bytes).await?;
                // The server answers a cancellation by closing.
                server.read_to_end(&mut Vec::new()).await?;
                return Ok(None);
            }
        }
    }
}

async fn pump_requests(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    session: &Mutex<Session>,
    shared: &Shared,
) -> Result<(), Stopped> {
    let mut from = BufReader::new(from);
    let mut to = BufWriter::new(to);
    // Rules of executions whose Sync has not come yet.
    let mut until_sync: Vec<Arc<RuleState>> = Vec::new();
    loop {
        let frame = Frame::read(&mut from).await?.ok_or(Stopped::Itself)?;
        let (hits, ends) = take_request(&frame, session, shared);
        act(Step::BeforeForward, &hits, &mut to).await?;
        until_sync.extend(hits);
        if ends {
            act(Step::BeforeSync, &until_sync, &mut to).await?;
        }
        to.write_all(&frame.bytes).await?;
        if ends {
            act(Step::AfterForward, &until_sync, &mut to).await?;
            until_sync.clear();
        }
        if from.buffer().is_empty() {
            to.flush().await?;
        }
    }
}

async fn pump_answers(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    session: &Mutex<Session>,
    shared: &Shared,
) -> Result<(), Stopped> {
    let mut from = BufReader::new(from);
    let mut to = BufWriter::new(to);
    // The part of an answer that a rule keeps back until the server has finished it.
    let mut kept = Vec::new();
    loop {
        let Some(frame) = Frame::read(&mut from).await? else {
            // The server's last words, such as why it is shutting down.
            to.write_all(&kept).await?;
            to.flush().await?;
            return Err(Stopped::Itself);
        };
        kept.extend_from_slice(&frame.bytes);
        match take_answer(&frame, session, shared) {
            Answer::KeepBack => continue,
            Answer::Forward => {
                to.write_all(&kept).await?;
            }
            Answer::Complete(rules) => {
                act(Step::BeforeReply, &rules, &mut to).await?;
                to.write_all(&kept).await?;
                act(Step::AfterReply, &rules, &mut to).await?;
            }
        }
        kept.clear();
        if from.buffer().is_empty() {
            to.flush().await?;
        }
    }
}

/// Counts and follows a request. Returns the rules that it sets off, and whether it ends a cycle.
fn take_request(frame: &Frame, session: &Mutex<Session>, shared: &Shared) -> (Vec<Arc<RuleState>>, bool) {
    let mut session = locked(session);
    let (cycle, request) = session.tracker.frontend(frame);
    let taken = match request {
        Request::Other => (Vec::new(), false),
        Request::End => (Vec::new(), true),
        Request::Execution { execution, alone } => {
            let hits = shared.rules.hit_by(&execution);
            let awaiting = hits.iter().map(|rule| (cycle, Arc::clone(rule)));
            session.awaiting.extend(awaiting);
            (hits, alone)
        }
    };
    shared.counts.send_modify(|counts| counts.frontend(frame.kind()));
    taken
}

/// What to do with a message of the server.
enum Answer {
    Forward,
    KeepBack,
    /// It completes the answer that these rules waited for.
    Complete(Vec<Arc<RuleState>>),
}

fn take_answer(frame: &Frame, session: &Mutex<Session>, shared: &Shared) -> Answer {
    shared.counts.send_modify(|counts| counts.backend(frame.kind()));
    let mut session = locked(session);
    match session.tracker.backend(frame) {
        None => Answer::Forward,
        Some(cycle) if frame.kind() == b'Z' => Answer::Complete(session.take_rules(cycle)),
        Some(cycle) if session.waits_for_reply(cycle) => Answer::KeepBack,
        Some(_) => Answer::Forward,
    }
}

/// Does what the rules of this step say, once everything before them is on its way.
async fn act(step: Step, rules: &[Arc<RuleState>], to: &mut (impl AsyncWrite + Unpin)) -> Result<(), Stopped> {
    for rule in rules.iter().filter(|rule| rule.step == step) {
        to.flush().await?;
        rule.act().await?;
    }
    Ok(())
}

async fn end(
    client: TcpStream,
    mut from_server: ReadHalf<Box<dyn Duplex>>,
    mut to_server: WriteHalf<Box<dyn Duplex>>,
    stopped: Stopped,
) {
    match stopped {
        Stopped::Itself => {}
        Stopped::ByRule(Ending::Reset) => {
            let _ = client.set_zero_linger();
            from_server.unsplit(to_server).reset_on_close();
        }
        Stopped::ByRule(Ending::Cut) => {
            drop(client);
            // Closing with unread answers could take back what was sent: let the server finish first.
            let _ = to_server.shutdown().await;
            let _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await;
        }
    }
}

fn locked(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
