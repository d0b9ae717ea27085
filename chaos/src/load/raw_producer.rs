//! Producers that speak raw gRPC: one that numbers its requests and repeats them until they are decided, and one that sends
//! each request once.

use std::sync::Arc;
use std::time::Duration;

use eventflow_proto::v1;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::door::{Answer, Door};
use super::flush::FlushProbe;
use super::world::{World, pick};
use crate::Result;
use crate::ground::BROKERS;
use crate::history::{Key, Micros, Outcome, ProducerKind, Publish, Record, Run, payload};

/// How long one attempt may take before its outcome counts as unknown.
const ATTEMPT: Duration = Duration::from_secs(4);
/// How long a request is repeated before its producer gives up and goes on under another id.
pub(super) const DECIDE: Duration = Duration::from_secs(60);

/// Refusals that a producer which keeps to the protocol never gets.
const UNEXPLAINED: [&str; 6] =
    ["OUT_OF_SEQUENCE", "PRODUCER_UNKNOWN", "PRODUCER_FENCED", "SEQUENCE_TOO_OLD", "STALE_ROUTING", "PRECEDING_FAILED"];

struct Raw {
    world: Arc<World>,
    rng: StdRng,
    doors: Vec<Door>,
    kind: ProducerKind,
    p: u32,
    k: Key,
    id: Uuid,
    sequence: i64,
    number: u64,
    flush: Option<FlushProbe>,
}

pub async fn run(world: Arc<World>, kind: ProducerKind, k: Key, role: u64) -> Result<()> {
    let doors = (0..BROKERS).map(|broker| world.door(role as usize, broker, k.0)).collect::<Result<Vec<_>>>()?;
    let flush = FlushProbe::new(&world);
    let rng = world.rng(role);
    let p = world.producer(kind, k.0);
    let mut raw = Raw { world, rng, doors, kind, p, k, id: Uuid::new_v4(), sequence: 0, number: 0, flush };
    while raw.world.is_publishing() {
        let count = pick(&mut raw.rng, &[(3, 1), (4, 7), (4, 64), (1, 500)]);
        if raw.kind == ProducerKind::Once {
            raw.once(count).await
        } else {
            raw.decided(count).await
        }
        let pause = raw.rng.random_range(5.0..40.0) * raw.world.pace;
        sleep(Duration::from_secs_f64(pause / 1_000.0)).await;
    }
    Ok(())
}

impl Raw {
    fn request(&mut self, count: u32) -> v1::PublishRequest {
        let size = pick(&mut self.rng, &[(2, 0usize), (8, 100), (4, 1_000)]);
        let value = |number| self.world.value(self.k.0, self.p, number);
        let event = |number| {
            let data = payload(value(number), size).into();
            v1::Event { payload: Some(v1::event::Payload::Data(data)), ..Default::default() }
        };
        let producer = (self.kind == ProducerKind::Sequenced).then(|| v1::Producer {
            id: self.id.as_bytes().to_vec().into(),
            epoch: 0,
            first_sequence: self.sequence,
        });
        v1::PublishRequest {
            stream: self.world.setup.streams[usize::from(self.k.0)].name.clone(),
            events: (self.number..self.number + u64::from(count)).map(event).collect(),
            partition: Some(u32::from(self.k.1)),
            producer,
            routing_version: 1,
            ..Default::default()
        }
    }

    async fn attempt(&mut self, request: v1::PublishRequest, broker: usize) -> Answer {
        attempt(self.doors[broker].clone(), request).await
    }

    fn any_broker(&mut self) -> usize {
        self.rng.random_range(0..BROKERS)
    }

    /// Sends a request once, whatever comes of it.
    async fn once(&mut self, count: u32) {
        let (request, broker) = (self.request(count), self.any_broker());
        let t0 = self.world.now();
        let answer = self.attempt(request, broker).await;
        self.note(count, t0, &answer, 1, false);
        self.number += u64::from(count);
    }

    /// Sends a request until it is decided; now and then at two brokers at once, or once more afterwards. Not where the log may
    /// lose its end: one of the two may go with it, and then the other is no repeat.
    async fn decided(&mut self, count: u32) {
        let request = self.request(count);
        let t0 = self.world.now();
        let deadline = Instant::now() + DECIDE;
        let (mut attempts, mut in_doubt) = (0, false);
        let answer = loop {
            attempts += 1;
            let broker = self.any_broker();
            let answer = if attempts == 1 && self.rng.random_bool(0.05) && !self.world.setup.loss_allowed {
                self.twice(&request, count, broker, t0).await
            } else {
                self.attempt(request.clone(), broker).await
            };
            let is_refused = UNEXPLAINED.contains(&answer.reason.as_str());
            in_doubt |= answer.outcome() == Outcome::Info;
            if answer.outcome() == Outcome::Ok || is_refused || Instant::now() > deadline {
                break answer;
            }
            sleep(Duration::from_millis(self.rng.random_range(10..150))).await;
        };
        if let (Some(flush), Some((off, _)), true) = (&mut self.flush, answer.at.first(), attempts == 1) {
            flush.sample(&self.world, self.k, *off).await;
        }
        let undecided = answer.outcome() != Outcome::Ok;
        // What was in doubt before a refusal stays in doubt.
        let answer =
            Answer { outcome: if in_doubt && undecided { Some(Outcome::Info) } else { answer.outcome }, ..answer };
        self.note(count, t0, &answer, attempts, false);
        if undecided {
            if !self.world.setup.loss_allowed && UNEXPLAINED.contains(&answer.reason.as_str()) {
                self.world.surprise(
                    "a producer",
                    format!("was refused with {} at sequence {}", answer.reason, self.sequence),
                );
            }
            self.id = Uuid::new_v4();
            self.sequence = -i64::from(count);
        } else if self.rng.random_bool(0.03) && !self.world.setup.loss_allowed {
            let (t0, broker) = (self.world.now(), self.any_broker());
            let again = self.attempt(request, broker).await;
            if again.outcome() == Outcome::Ok {
                self.note(count, t0, &again, 1, true);
            }
        }
        self.number += u64::from(count);
        self.sequence += i64::from(count);
    }

    /// The same request at two brokers at once: one append, one answer.
    async fn twice(&mut self, request: &v1::PublishRequest, count: u32, broker: usize, t0: Micros) -> Answer {
        let (one, two) = (self.doors[broker].clone(), self.doors[(broker + 1) % BROKERS].clone());
        let (one, two) = tokio::join!(attempt(one, request.clone()), attempt(two, request.clone()));
        let (first, second) = if one.outcome() == Outcome::Ok { (one, two) } else { (two, one) };
        if second.outcome() == Outcome::Ok {
            self.note(count, t0, &second, 1, true);
        }
        first
    }

    fn note(&self, count: u32, t0: Micros, answer: &Answer, attempts: u32, repeat: bool) {
        if !repeat {
            self.world.acknowledged(self.k, &answer.at);
        }
        self.world.recorder.write(&Record::Publish(Publish {
            run: Run(self.p, self.number, count),
            k: self.k,
            t0,
            t1: self.world.now(),
            outcome: answer.outcome(),
            at: answer.at.clone(),
            duplicate: answer.duplicate,
            repeat,
            attempts,
            reason: answer.reason.clone(),
            key: String::new(),
        }));
    }
}

/// One attempt at one broker.
pub(super) async fn attempt(mut door: Door, request: v1::PublishRequest) -> Answer {
    match timeout(ATTEMPT, door.publisher.publish(request)).await {
        Ok(answer) => Answer::of(answer.map(tonic::Response::into_inner)),
        Err(_) => Answer::timed_out(),
    }
}
