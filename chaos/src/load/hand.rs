//! A member of a shared group that speaks raw gRPC: it says of each event what became of it, and writes down what came of that.
//!
//! Some events always fail, some are given up at once, others fail now and then, get more time, or are settled too late. The
//! member itself leaves, vanishes, and goes on settling when its broker has been silent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use eventflow_proto::EventBatch;
use eventflow_proto::v1::event_outcome::Outcome as Word;
use eventflow_proto::v1::{self, commit_request::Frame as Ask, subscribe_response::Frame};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ACK_TIMEOUT;
use super::door::failed;
use super::session::{End, SILENCE, Streams, open};
use super::world::{Stage, World, bytes_of, pick};
use crate::Result;
use crate::ground::BROKERS;
use crate::history::{Dealt, Deliver, Ended, Key, Outcome, Record, Said, Seat, Settle, Truncated, epoch_of, token};

/// A session that is over for its broker tries to go on for so long.
const AFTERLIFE: Duration = Duration::from_secs(10);
const LEAVE: Duration = Duration::from_secs(5);
/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(15);
/// Between signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// One number of so many always fails, and one is given up.
const EVERY: u64 = 41;

/// One member, through all its sessions, until the run is over.
pub async fn run(world: Arc<World>, g: u16, name: String, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let mut ghosts = JoinSet::new();
    while !world.is(Stage::Over) {
        let restless = world.setup.faults_wanted && world.is(Stage::Running);
        let broker = rng.random_range(0..BROKERS);
        let Some(mut hand) = Hand::join(&world, g, &name, role as usize, broker, rng.random()).await else {
            sleep(Duration::from_millis(rng.random_range(50..300))).await;
            continue;
        };
        let until = (restless && rng.random_bool(0.6))
            .then(|| Instant::now() + Duration::from_millis(rng.random_range(1_000..8_000)));
        match hand.serve(until).await {
            End::Over => hand.leave().await,
            End::Time if rng.random_bool(0.5) => hand.leave().await,
            // Dropped without a word.
            End::Time | End::Gone => {}
            End::Silent => {
                ghosts.spawn(async move { hand.haunt(Instant::now() + AFTERLIFE).await });
            }
        }
        while ghosts.try_join_next().is_some() {}
    }
    while ghosts.join_next().await.is_some() {}
    Ok(())
}

/// An event in the member's hands.
#[derive(Debug, Clone)]
struct Held {
    partition: u16,
    log_epoch: u64,
    lease_epoch: u64,
    off: i64,
    attempt: u32,
    again: bool,
    verdict: Said,
    due: Instant,
}

impl Held {
    /// Whether both may be said in one breath: acknowledgements of neighbours that came together.
    fn goes_on(&self, next: &Held, count: u32) -> bool {
        let same = |held: &Held| (held.partition, held.log_epoch, held.lease_epoch, held.attempt, held.verdict);
        same(self) == same(next)
            && !self.again
            && !next.again
            && self.verdict == Said::Ack
            && next.off == self.off + i64::from(count)
    }
}

struct Hand {
    world: Arc<World>,
    g: u16,
    stream: u16,
    s: u32,
    rng: StdRng,
    streams: Streams,
    held: Vec<Held>,
    waiting: HashMap<u64, Vec<Settle>>,
    frame_id: u64,
    ended: bool,
}

impl Hand {
    async fn join(world: &Arc<World>, g: u16, name: &str, zone: usize, broker: usize, seed: u64) -> Option<Hand> {
        let mut rng = StdRng::seed_from_u64(seed);
        let s = world.session();
        world.recorder.write(&Record::Seat(Seat { g, s, t: world.now(), name: name.to_owned() }));
        let window = pick(&mut rng, &[(1, 20), (2, 100), (2, 1_000)]);
        let Some(streams) = open(world, g, name, zone, broker, window).await else {
            // Its broker may have dealt events to it all the same.
            let reason = "not known to have begun".to_owned();
            world.recorder.write(&Record::Ended(Ended { g, s, t: world.now(), reason }));
            return None;
        };
        Some(Hand {
            world: Arc::clone(world),
            g,
            stream: world.setup.groups[usize::from(g)].stream,
            s,
            rng,
            streams,
            held: Vec::new(),
            waiting: HashMap::new(),
            frame_id: 0,
            ended: false,
        })
    }

    /// Takes events and settles them until something ends it.
    async fn serve(&mut self, until: Option<Instant>) -> End {
        let world = Arc::clone(&self.world);
        let over = world.reached(Stage::Over);
        tokio::pin!(over);
        let mut heard = Instant::now();
        let (mut tick, mut beat) = (Instant::now(), Instant::now());
        loop {
            let silent_at = heard + SILENCE;
            tokio::select! {
                () = &mut over => return End::Over,
                () = sleep_until(until.unwrap_or(silent_at)), if until.is_some() => return End::Time,
                () = sleep_until(silent_at) => return End::Silent,
                frame = self.streams.frames.message() => {
                    heard = Instant::now();
                    if !self.take(frame) {
                        return End::Gone;
                    }
                }
                answer = self.streams.answers.message() => {
                    if !self.answered(answer) {
                        return End::Gone;
                    }
                }
                () = sleep_until(tick) => {
                    self.settle_due();
                    tick = Instant::now() + TICK;
                    if beat.elapsed() > BEAT {
                        beat = Instant::now();
                        self.say(Ask::Heartbeat(v1::CommitHeartbeat {}));
                    }
                }
            }
        }
    }

    /// Goes on as if nothing had happened: what it has is acknowledged, again and again, whoever has it now.
    async fn haunt(&mut self, until: Instant) {
        let world = Arc::clone(&self.world);
        let over = world.reached(Stage::Over);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = sleep_until(until) => break,
                frame = self.streams.frames.message() => if !self.take(frame) { break },
                answer = self.streams.answers.message() => if !self.answered(answer) { break },
                () = sleep(Duration::from_millis(300)) => {
                    let mut stale = self.held.clone();
                    stale.iter_mut().for_each(|held| held.verdict = Said::Ack);
                    self.send(stale);
                }
            }
        }
        self.end("given up");
    }

    /// Leaves with what it has unsettled, which goes to others, uncounted.
    async fn leave(&mut self) {
        self.say(Ask::Leave(v1::CommitLeave {}));
        let leaving = async {
            loop {
                tokio::select! {
                    frame = self.streams.frames.message() => if !self.take(frame) { break },
                    answer = self.streams.answers.message() => if !self.answered(answer) { break },
                }
            }
        };
        let _ = timeout(LEAVE, leaving).await;
        self.end("left, and not told so");
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
            Some(Frame::Redeliveries(again)) => again.events.iter().for_each(|event| self.again(event)),
            Some(Frame::Repositioned(moved)) => {
                let partition = moved.partition.map(|lease| lease.partition as u16);
                self.held.retain(|held| Some(held.partition) != partition);
            }
            Some(Frame::Truncated(cut)) => {
                let (g, s, k, t) = (self.g, self.s, Key(self.stream, cut.partition as u16), self.world.now());
                let (from, to) = (cut.from_offset, cut.to_offset);
                self.world.recorder.write(&Record::Truncated(Truncated { g, s, k, t, from, to }));
            }
            _ => {}
        }
        true
    }

    fn batch(&mut self, batch: &EventBatch) {
        let dealt = Dealt {
            attempt: 1,
            epoch: epoch_of(batch.log_epoch, batch.lease_epoch),
            again: false,
            class: String::new(),
            reason: String::new(),
        };
        // Where keys are in order, a batch may leave out what is another's turn.
        let offsets: Vec<i64> = match batch.offset_deltas.as_slice() {
            [] => (batch.base_offset..).take(batch.events.len()).collect(),
            deltas => deltas.iter().map(|delta| batch.base_offset + i64::from(*delta)).collect(),
        };
        let mut events = batch.events.iter().map(bytes_of);
        for run in offsets.chunk_by(|before, next| before + 1 == *next) {
            let next = run[0] + run.len() as i64;
            let payloads = events.by_ref().take(run.len());
            let place = (batch.partition as u16, run[0], next);
            self.delivered(place, payloads, dealt.clone(), (batch.log_epoch, batch.lease_epoch));
        }
    }

    fn again(&mut self, again: &v1::Redelivery) {
        let Some(stored) = &again.event else { return };
        let epoch = epoch_of(stored.log_epoch, again.lease_epoch);
        let (class, reason) = (again.last_error_class.clone(), again.last_reason.clone());
        let dealt = Dealt { attempt: again.attempt, epoch, again: true, class, reason };
        let place = (stored.partition as u16, stored.offset, stored.offset + 1);
        self.delivered(place, stored.event.iter().map(bytes_of), dealt, (stored.log_epoch, again.lease_epoch));
    }

    /// Writes a delivery down, and decides what is to become of each event.
    fn delivered<'a>(
        &mut self,
        (partition, off, next): (u16, i64, i64),
        payloads: impl Iterator<Item = &'a [u8]>,
        dealt: Dealt,
        (log_epoch, lease_epoch): (u64, u64),
    ) {
        let (runs, bad) = self.world.runs(off, payloads);
        let numbers: Vec<u64> = runs.iter().flat_map(|run| run.values()).map(|(_, number)| number).collect();
        let (attempt, again) = (dealt.attempt, dealt.again);
        self.world.recorder.write(&Record::Deliver(Deliver {
            g: self.g,
            s: self.s,
            k: Key(self.stream, partition),
            t: self.world.now(),
            epoch: 0,
            off,
            runs,
            next,
            bad,
            dealt: Some(dealt),
        }));
        for (off, number) in (off..).zip(numbers) {
            let (verdict, after) = self.decide(number);
            let due = Instant::now() + after;
            self.held.push(Held { partition, log_epoch, lease_epoch, off, attempt, again, verdict, due });
        }
    }

    /// What is to become of an event, and when that is said.
    fn decide(&mut self, number: u64) -> (Said, Duration) {
        let soon = Duration::from_millis(self.rng.random_range(0..25));
        match (number % EVERY, self.rng.random_range(0..100)) {
            (7, _) | (_, 0..5) => (Said::Nack, soon),
            (19, _) => (Said::GiveUp, soon),
            (_, 5..8) => (Said::Extend, soon),
            // Too late, or nearly so; not in calm, where delivery is to be prompt.
            (_, 8..10) if self.world.setup.faults_wanted && self.world.is(Stage::Running) => {
                (Said::Ack, ACK_TIMEOUT.mul_f64(self.rng.random_range(0.9..1.3)))
            }
            _ => (Said::Ack, soon),
        }
    }

    fn settle_due(&mut self) {
        let now = Instant::now();
        let (mut due, left): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.due <= now);
        self.held = left;
        for held in &due {
            // Who got more time is done with it later; now and then an acknowledgement is said twice.
            if held.verdict == Said::Extend || (held.verdict == Said::Ack && self.rng.random_bool(0.01)) {
                let after = Duration::from_millis(self.rng.random_range(50..400));
                self.held.push(Held { verdict: Said::Ack, due: now + after, ..held.clone() });
            }
        }
        due.sort_by_key(|held| (held.partition, held.lease_epoch, held.attempt, held.off));
        self.send(due);
    }

    /// Says what became of events, in one frame.
    fn send(&mut self, events: Vec<Held>) {
        let mut wire: Vec<v1::EventOutcome> = Vec::new();
        let mut asked: Vec<Settle> = Vec::new();
        let mut first: Option<Held> = None;
        let t0 = self.world.now();
        for held in events {
            let before = asked.last_mut().zip(wire.last_mut()).zip(first.as_ref());
            if let Some(((settle, outcome), first)) = before
                && first.goes_on(&held, settle.count)
            {
                settle.count += 1;
                outcome.last_offset = Some(held.off);
                continue;
            }
            let by = if held.verdict == Said::Extend { ACK_TIMEOUT } else { Duration::ZERO };
            asked.push(Settle {
                g: self.g,
                s: self.s,
                k: Key(self.stream, held.partition),
                t0,
                t1: t0,
                epoch: epoch_of(held.log_epoch, held.lease_epoch),
                attempt: held.attempt,
                again: held.again,
                off: held.off,
                count: 1,
                verdict: held.verdict,
                by: by.as_micros() as u64,
                outcome: Outcome::Info,
                reason: String::new(),
            });
            wire.push(v1::EventOutcome {
                partition: u32::from(held.partition),
                log_epoch: held.log_epoch,
                lease_epoch: held.lease_epoch,
                offset: Some(held.off),
                last_offset: None,
                outcome: Some(self.word(&held)),
            });
            first = Some(held);
        }
        // A stream that takes no more loses them; nothing of it was sent then.
        if !wire.is_empty() && self.say(Ask::Outcomes(v1::CommitOutcomes { outcomes: wire })) {
            self.waiting.insert(self.frame_id, asked);
        }
    }

    fn word(&mut self, held: &Held) -> Word {
        let (reason, error_class) = (token(self.s, held.attempt), "chaos".to_owned());
        match held.verdict {
            Said::Ack => Word::Ack(v1::Ack {}),
            Said::Nack => {
                let wait = self.rng.random_bool(0.2).then(|| self.rng.random_range(0..300_000_000));
                let delay = wait.map(|nanos| prost_types::Duration { seconds: 0, nanos });
                Word::Nack(v1::Nack { reason, error_class, delay, ..Default::default() })
            }
            Said::GiveUp => Word::DeadLetter(v1::DeadLetter { reason, error_class, ..Default::default() }),
            Said::Extend => Word::Extend(v1::Extend { by: None }),
        }
    }

    /// False: it could not be sent.
    fn say(&mut self, frame: Ask) -> bool {
        self.frame_id += 1;
        self.streams.ask.try_send(v1::CommitRequest { frame_id: self.frame_id, frame: Some(frame) }).is_ok()
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
                // The subscription may go on, and then it is lost.
                self.end(&format!("the Commit stream ended: {}", failed(&status).1));
                return false;
            }
        };
        for asked in self.waiting.remove(&response.frame_id).unwrap_or_default() {
            self.note(&asked, &response.failures);
        }
        true
    }

    /// Writes down what came of an outcome, in pieces of the same fate.
    fn note(&self, asked: &Settle, failures: &[v1::OutcomeFailure]) {
        let t1 = self.world.now();
        let mut pieces: Vec<Settle> = Vec::new();
        for off in asked.off..asked.off + i64::from(asked.count) {
            let refusal = failures.iter().find(|failure| {
                failure.partition == u32::from(asked.k.1)
                    && epoch_of(failure.log_epoch, failure.lease_epoch) == asked.epoch
                    && (failure.offset..=failure.last_offset).contains(&off)
            });
            let reason = refusal.map_or_else(String::new, |failure| {
                failure.error.as_ref().map_or_else(|| "no reason".to_owned(), |error| error.reason.clone())
            });
            match pieces.last_mut().filter(|piece| piece.reason == reason) {
                Some(piece) => piece.count += 1,
                None => {
                    let outcome = outcome_of(&reason);
                    pieces.push(Settle { t1, off, count: 1, outcome, reason, ..asked.clone() });
                }
            }
        }
        pieces.into_iter().for_each(|piece| self.world.recorder.write(&Record::Settle(piece)));
    }

    /// What was not answered is unknown.
    fn end(&mut self, reason: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let t1 = self.world.now();
        for asked in std::mem::take(&mut self.waiting).into_values().flatten() {
            self.world.recorder.write(&Record::Settle(Settle { t1, reason: "no answer".into(), ..asked }));
        }
        let (g, s) = (self.g, self.s);
        self.world.recorder.write(&Record::Ended(Ended { g, s, t: t1, reason: reason.to_owned() }));
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.end("dropped");
    }
}

/// These say that nothing was changed; anything else may have.
fn outcome_of(reason: &str) -> Outcome {
    match reason {
        "" => Outcome::Ok,
        "ACK_DEADLINE_PASSED" | "EVENT_NOT_IN_FLIGHT" | "MEMBER_FENCED" | "SEEK_FENCED" => Outcome::Fail,
        _ => Outcome::Info,
    }
}
