//! One session of a member: a Subscribe stream and a Commit stream, and what is known from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventflow_proto::EventBatch;
use eventflow_proto::v1::{self, commit_request::Frame as Ask, subscribe_response::Frame};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::door::failed;
use super::world::{Stage, World, bytes_of};
use crate::history::{Commit, Deliver, Ended, Key, Lease, Micros, Outcome, Record, Truncated, epoch_of};

/// A broker that says nothing for so long is given up; its heartbeats come every second.
pub const SILENCE: Duration = Duration::from_secs(4);
/// No window lets so many events through: what lies so far beyond what came was not sent. Less may have been, and be on its way.
const UNSENT: i64 = 20_000;
const JOIN: Duration = Duration::from_secs(5);
const LEAVE: Duration = Duration::from_secs(5);

/// Why a session is no longer served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The run is over.
    Over,
    /// The plan's time has come.
    Time,
    /// Nothing was heard for too long.
    Silent,
    /// The stream has ended.
    Gone,
}

struct Held {
    log_epoch: u64,
    lease_epoch: u64,
    /// Where delivery stands.
    next: i64,
    /// The highest offset that was asked to be committed.
    asked: i64,
    /// The highest offset that is.
    committed: i64,
    /// A commit for it is not answered yet.
    waiting: bool,
}

impl Held {
    fn epoch(&self) -> u64 {
        epoch_of(self.log_epoch, self.lease_epoch)
    }
}

/// A commit on its way.
struct Asked {
    partition: u16,
    epoch: u64,
    off: i64,
    t0: Micros,
}

/// See the [module](self).
pub struct Session {
    world: Arc<World>,
    g: u16,
    stream: u16,
    s: u32,
    broker: u8,
    rng: StdRng,
    frames: Streaming<v1::SubscribeResponse>,
    ask: mpsc::Sender<v1::CommitRequest>,
    answers: Streaming<v1::CommitResponse>,
    held: BTreeMap<u16, Held>,
    waiting: HashMap<u64, Vec<Asked>>,
    frame_id: u64,
    ended: bool,
}

impl Session {
    /// Joins through a broker; none when that fails, for whatever reason. The window of guests may be small: who stays must
    /// keep up.
    pub async fn join(
        world: &Arc<World>,
        g: u16,
        name: &str,
        zone: usize,
        broker: usize,
        seed: u64,
        is_guest: bool,
    ) -> Option<Session> {
        let mut rng = StdRng::seed_from_u64(seed);
        let Streams { frames, ask, answers } = open(world, g, name, zone, broker, window(&mut rng, is_guest)).await?;
        world.members[broker % crate::ground::BROKERS].fetch_add(1, Ordering::Relaxed);
        Some(Session {
            world: Arc::clone(world),
            g,
            stream: world.setup.groups[usize::from(g)].stream,
            s: world.session(),
            broker: (broker % crate::ground::BROKERS) as u8,
            rng,
            frames,
            ask,
            answers,
            held: BTreeMap::new(),
            waiting: HashMap::new(),
            frame_id: 0,
            ended: false,
        })
    }

    /// Consumes and commits until something ends it.
    pub async fn serve(&mut self, until: Option<Instant>) -> End {
        let world = Arc::clone(&self.world);
        let over = world.reached(Stage::Over);
        tokio::pin!(over);
        let mut heard = Instant::now();
        let mut commit_at = Instant::now();
        loop {
            let silent_at = heard + SILENCE;
            tokio::select! {
                () = &mut over => return End::Over,
                () = sleep_until(until.unwrap_or(silent_at)), if until.is_some() => return End::Time,
                () = sleep_until(silent_at) => return End::Silent,
                frame = self.frames.message() => {
                    heard = Instant::now();
                    if !self.take(frame) {
                        return End::Gone;
                    }
                }
                answer = self.answers.message() => {
                    if !self.answered(answer) {
                        return End::Gone;
                    }
                }
                () = sleep_until(commit_at) => {
                    self.commit();
                    commit_at = Instant::now() + Duration::from_millis(self.rng.random_range(20..150));
                }
            }
        }
    }

    /// Goes on as if nothing had happened: what was delivered is committed, again and again, whoever has the partitions now.
    pub async fn haunt(&mut self, until: Instant) {
        let world = Arc::clone(&self.world);
        let over = world.reached(Stage::Over);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = sleep_until(until) => break,
                frame = self.frames.message() => if !self.take(frame) { break },
                answer = self.answers.message() => if !self.answered(answer) { break },
                () = sleep(Duration::from_millis(200)) => {
                    let rng = &mut self.rng;
                    let some = self.held.iter().map(|(partition, held)| (*partition, rng.random_range(held.committed..=held.next)));
                    let some = some.collect();
                    self.send(some);
                }
            }
        }
        self.end("given up");
    }

    /// Commits what was delivered, and leaves the group.
    pub async fn leave(&mut self) {
        let all: Vec<(u16, i64)> = self.held.iter().map(|(partition, held)| (*partition, held.next)).collect();
        self.send(all);
        self.frame_id += 1;
        let leave = v1::CommitRequest { frame_id: self.frame_id, frame: Some(Ask::Leave(v1::CommitLeave {})) };
        let _ = self.ask.send(leave).await;
        let leaving = async {
            loop {
                tokio::select! {
                    frame = self.frames.message() => if !self.take(frame) { break },
                    answer = self.answers.message() => if !self.answered(answer) { break },
                }
            }
        };
        let _ = timeout(LEAVE, leaving).await;
        self.end("left");
    }

    /// Takes a frame in; false when the stream has ended.
    fn take(&mut self, frame: Result<Option<v1::SubscribeResponse>, tonic::Status>) -> bool {
        let frame = match frame {
            Ok(Some(message)) => message.frame,
            Ok(None) => {
                self.end("the stream ended");
                return false;
            }
            Err(status) => {
                self.end(&failed(&status).1);
                return false;
            }
        };
        match frame {
            Some(Frame::Batch(batch)) => self.batch(&batch.head),
            Some(Frame::Assigned(assigned)) => assigned.partitions.iter().for_each(|lease| self.lease(lease, false)),
            Some(Frame::Repositioned(moved)) => moved.partition.iter().for_each(|lease| self.lease(lease, true)),
            Some(Frame::Revoking(revoking)) => self.release(&revoking.partitions),
            Some(Frame::Lost(lost)) => lost.partitions.iter().for_each(|partition| {
                self.held.remove(&(*partition as u16));
            }),
            Some(Frame::Truncated(cut)) => {
                let k = Key(self.stream, cut.partition as u16);
                let (from, to) = (cut.from_offset, cut.to_offset);
                self.world.recorder.write(&Record::Truncated(Truncated {
                    g: self.g,
                    s: self.s,
                    k,
                    t: self.world.now(),
                    from,
                    to,
                }));
                if let Some(held) = self.held.get_mut(&k.1) {
                    held.next = held.next.max(to);
                }
            }
            _ => {}
        }
        true
    }

    fn lease(&mut self, lease: &v1::AssignedPartition, moved: bool) {
        let partition = lease.partition as u16;
        let (log_epoch, lease_epoch, off) = (lease.log_epoch, lease.lease_epoch, lease.next_offset);
        let held = Held { log_epoch, lease_epoch, next: off, asked: off, committed: off, waiting: false };
        let epoch = held.epoch();
        self.held.insert(partition, held);
        let (k, t) = (Key(self.stream, partition), self.world.now());
        self.world.recorder.write(&Record::Lease(Lease {
            g: self.g,
            s: self.s,
            k,
            t,
            log_epoch,
            epoch,
            off,
            b: self.broker,
            moved,
        }));
    }

    fn batch(&mut self, batch: &EventBatch) {
        let k = Key(self.stream, batch.partition as u16);
        if !batch.offset_deltas.is_empty() {
            self.world.surprise("a member", format!("a batch of {k:?} at {} has holes", batch.base_offset));
        }
        let (runs, bad) = self.world.runs(batch.base_offset, batch.events.iter().map(bytes_of));
        // A batch names the log's epoch of its offsets; its lease may be of a later one.
        let mut log_epoch = batch.log_epoch;
        if let Some(held) = self.held.get_mut(&k.1) {
            held.next = batch.next_offset;
            log_epoch = held.log_epoch;
        }
        self.world.recorder.write(&Record::Deliver(Deliver {
            g: self.g,
            s: self.s,
            k,
            t: self.world.now(),
            epoch: epoch_of(log_epoch, batch.lease_epoch),
            off: batch.base_offset,
            runs,
            next: batch.next_offset,
            bad,
            dealt: None,
        }));
    }

    /// What is going to another member is committed, then let go.
    fn release(&mut self, partitions: &[u32]) {
        let going: Vec<(u16, i64)> = partitions
            .iter()
            .filter_map(|partition| Some((*partition as u16, self.held.get(&(*partition as u16))?.next)))
            .collect();
        self.send(going);
        self.frame_id += 1;
        let release = Ask::Release(v1::CommitRelease { partitions: partitions.to_vec() });
        let _ = self.ask.try_send(v1::CommitRequest { frame_id: self.frame_id, frame: Some(release) });
    }

    /// Commits some of what was delivered; now and then backwards, or beyond it, which must change nothing.
    fn commit(&mut self) {
        let mut commits = Vec::new();
        for (partition, held) in &self.held {
            if held.waiting {
                continue;
            }
            let off = match self.rng.random_range(0..100) {
                0..3 if held.asked > 50 => held.asked - self.rng.random_range(1..50),
                3..4 => held.next + UNSENT + self.rng.random_range(1..50),
                4..44 if held.next > held.asked => self.rng.random_range(held.asked..held.next),
                _ if held.next > held.asked => held.next,
                _ => continue,
            };
            commits.push((*partition, off));
        }
        // Now and then a smaller commit follows at once, while the first one is on its way.
        let smaller = self
            .rng
            .random_bool(0.05)
            .then(|| commits.iter().map(|(partition, off)| (*partition, (off - 7).max(0))).collect());
        self.send(commits);
        self.send(smaller.unwrap_or_default());
    }

    fn send(&mut self, commits: Vec<(u16, i64)>) {
        if commits.is_empty() {
            return;
        }
        self.frame_id += 1;
        let t0 = self.world.now();
        let (mut wire, mut asked) = (Vec::new(), Vec::new());
        for (partition, off) in commits {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            let epoch = held.epoch();
            (held.waiting, held.asked) = (true, held.asked.max(off.min(held.next)));
            let (log_epoch, lease_epoch, next_offset) = (held.log_epoch, held.lease_epoch, Some(off));
            wire.push(v1::PartitionCommit { partition: u32::from(partition), log_epoch, lease_epoch, next_offset });
            asked.push(Asked { partition, epoch, off, t0 });
        }
        let frame = Some(Ask::Commit(v1::CommitProgress { commits: wire }));
        // A stream that takes no more loses this commit; nothing of it was sent then.
        if self.ask.try_send(v1::CommitRequest { frame_id: self.frame_id, frame }).is_ok() {
            self.waiting.insert(self.frame_id, asked);
        } else {
            asked.iter().for_each(|asked| {
                self.held
                    .entry(asked.partition)
                    .and_modify(|held| (held.waiting, held.asked) = (false, held.committed));
            });
        }
    }

    /// Takes an answer in; false when the stream has ended.
    fn answered(&mut self, answer: Result<Option<v1::CommitResponse>, tonic::Status>) -> bool {
        let response = match answer {
            Ok(Some(response)) => response,
            Ok(None) => {
                self.end("the Commit stream ended");
                return false;
            }
            Err(status) => {
                self.end(&failed(&status).1);
                return false;
            }
        };
        for asked in self.waiting.remove(&response.frame_id).unwrap_or_default() {
            let result = response.results.iter().find(|result| result.partition == u32::from(asked.partition));
            let (outcome, got, reason) = match result {
                Some(v1::CommitResult { error: Some(error), .. }) => {
                    (outcome_of(&error.reason), None, error.reason.clone())
                }
                Some(result) => (Outcome::Ok, result.committed_offset, String::new()),
                None => (Outcome::Info, None, "no result".to_owned()),
            };
            if let Some(held) = self.held.get_mut(&asked.partition).filter(|held| held.epoch() == asked.epoch) {
                held.waiting = false;
                if outcome == Outcome::Ok {
                    held.committed = held.committed.max(asked.off);
                } else {
                    // It is asked for again.
                    held.asked = held.committed;
                }
            }
            self.note(&asked, outcome, got, reason);
        }
        true
    }

    fn note(&self, asked: &Asked, outcome: Outcome, got: Option<i64>, reason: String) {
        let Asked { partition, epoch, off, t0 } = *asked;
        let (k, t1) = (Key(self.stream, partition), self.world.now());
        self.world.recorder.write(&Record::Commit(Commit {
            g: self.g,
            s: self.s,
            k,
            t0,
            t1,
            epoch,
            off,
            outcome,
            got,
            reason,
        }));
    }

    /// What was not answered is unknown.
    fn end(&mut self, reason: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.world.members[usize::from(self.broker)].fetch_sub(1, Ordering::Relaxed);
        for asked in std::mem::take(&mut self.waiting).into_values().flatten() {
            self.note(&asked, Outcome::Info, None, "no answer".to_owned());
        }
        self.world.recorder.write(&Record::Ended(Ended {
            g: self.g,
            s: self.s,
            t: self.world.now(),
            reason: reason.to_owned(),
        }));
    }
}

/// The two streams of a session that has begun.
pub(super) struct Streams {
    pub frames: Streaming<v1::SubscribeResponse>,
    pub ask: mpsc::Sender<v1::CommitRequest>,
    pub answers: Streaming<v1::CommitResponse>,
}

/// Opens both streams of a member; none when that fails, for whatever reason.
pub(super) async fn open(
    world: &World,
    g: u16,
    name: &str,
    zone: usize,
    broker: usize,
    window_events: u32,
) -> Option<Streams> {
    let group = &world.setup.groups[usize::from(g)];
    let mut door = world.door(zone, broker, group.stream).ok()?;
    let (group, member_name) = (group.name.clone(), name.to_owned());
    let request = v1::SubscribeRequest { group, member_name, window_events, ..Default::default() };
    let joining = async {
        let mut frames = door.consumer.subscribe(request).await.ok()?.into_inner();
        let Some(Frame::Session(session)) = frames.message().await.ok()??.frame else { return None };
        let (ask, asked) = mpsc::channel(256);
        let session_id = session.session_id.clone();
        let attach = v1::CommitRequest { frame_id: 0, frame: Some(Ask::Attach(v1::CommitAttach { session_id })) };
        ask.send(attach).await.ok()?;
        let answers = door.consumer.commit(ReceiverStream::new(asked)).await.ok()?.into_inner();
        Some(Streams { frames, ask, answers })
    };
    timeout(JOIN, joining).await.ok()?
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end("dropped");
    }
}

/// Events on their way at most. Who stays must keep up, and still notice a window that leaks.
fn window(rng: &mut StdRng, is_guest: bool) -> u32 {
    match (rng.random_bool(0.5), is_guest) {
        (true, true) => rng.random_range(1..200),
        (true, false) => 1_000,
        (false, _) => 10_000,
    }
}

/// Fenced and out of range changed nothing; anything else may have.
fn outcome_of(reason: &str) -> Outcome {
    match reason {
        "MEMBER_FENCED" | "SEEK_FENCED" | "COMMIT_OUT_OF_RANGE" => Outcome::Fail,
        _ => Outcome::Info,
    }
}
