//! What all clients of a run share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use eventflow::{Client, ClientOptions};
use eventflow_proto::v1;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::door::Door;
use crate::Result;
use crate::check::UNREADABLE;
use crate::ground::{BROKERS, Ground};
use crate::history::{
    Bad, Key, Micros, Producer, ProducerKind, Record, Recorder, Run, Setup, Surprise, Value, push, verify,
};

/// How far a run has come, for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Publish and consume while faults are about.
    Running,
    /// The same, with everything healed.
    Calm,
    /// Publish no more.
    Quiet,
    /// End.
    Over,
}

/// Shared by all clients.
pub struct World {
    pub ground: Arc<Ground>,
    pub recorder: Recorder,
    pub setup: Setup,
    pub seed: u64,
    /// Multiplies pauses between publishes.
    pub pace: f64,
    pub stage: watch::Sender<Stage>,
    producers: AtomicU32,
    sessions: AtomicU32,
    /// The broker that stays dead after healing.
    pub gone: OnceLock<usize>,
    /// Members by broker.
    pub members: [AtomicU32; BROKERS],
    /// Acknowledged ends of partitions, for reads that must reach them.
    ends: Mutex<HashMap<Key, i64>>,
    pub flush: Mutex<Vec<FlushSample>>,
    acknowledged: AtomicU64,
}

/// How far the write-ahead log was flushed when an acknowledgement had come.
#[derive(Debug, Clone, Copy)]
pub struct FlushSample {
    pub k: Key,
    pub off: i64,
    pub t: Micros,
    pub flushed: u64,
}

impl World {
    pub fn new(ground: Arc<Ground>, recorder: Recorder, setup: Setup, seed: u64, pace: f64) -> Arc<World> {
        Arc::new(World {
            ground,
            recorder,
            setup,
            seed,
            pace,
            stage: watch::Sender::new(Stage::Running),
            producers: AtomicU32::new(1),
            sessions: AtomicU32::new(1),
            gone: OnceLock::new(),
            members: Default::default(),
            ends: Mutex::default(),
            flush: Mutex::default(),
            acknowledged: AtomicU64::new(0),
        })
    }

    /// Randomness of one client: the same for the same seed and role.
    pub fn rng(&self, role: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ role)
    }

    pub fn now(&self) -> Micros {
        self.recorder.now()
    }

    pub fn is(&self, stage: Stage) -> bool {
        *self.stage.borrow() == stage
    }

    pub fn is_publishing(&self) -> bool {
        *self.stage.borrow() < Stage::Quiet
    }

    /// Returns when the run has come so far.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.stage.subscribe();
        // The sender lives in this value.
        let _ = stages.wait_for(|now| *now >= stage).await;
    }

    pub fn key_of(&self, stream: u16) -> &str {
        let organization = self.setup.streams[usize::from(stream)].organization;
        &self.ground.keys[usize::from(organization)]
    }

    /// A raw connection to a broker, in the name of a stream's owner.
    pub fn door(&self, zone: usize, broker: usize, stream: u16) -> Result<Door> {
        Door::to(self.ground.door(zone, broker % BROKERS), self.key_of(stream))
    }

    /// The same with another key.
    pub fn door_with(&self, zone: usize, broker: usize, key: &str) -> Result<Door> {
        Door::to(self.ground.door(zone, broker % BROKERS), key)
    }

    /// An SDK client in the name of a stream's owner.
    pub fn client(&self, zone: usize, stream: u16) -> Result<Client> {
        let options =
            ClientOptions::new(&self.ground.url(zone))?.api_key(self.key_of(stream)).application("eventflow-chaos");
        Ok(Client::lazy(options.connect_timeout(Duration::from_secs(2)).call_timeout(Duration::from_secs(30))))
    }

    /// A new producer, written down.
    pub fn producer(&self, kind: ProducerKind, stream: u16) -> u32 {
        let p = self.producers.fetch_add(1, Ordering::Relaxed);
        self.recorder.write(&Record::Producer(Producer { p, kind, stream }));
        p
    }

    /// A number for a new session or reader.
    pub fn session(&self) -> u32 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// The broker with the most members whose leases are seen.
    pub fn busiest(&self) -> usize {
        (0..BROKERS).max_by_key(|broker| self.members[*broker].load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Any broker but the one that stays dead.
    pub fn any_broker(&self, rng: &mut StdRng) -> usize {
        let broker = rng.random_range(0..BROKERS);
        if self.gone.get() == Some(&broker) { (broker + 1) % BROKERS } else { broker }
    }

    pub fn value(&self, stream: u16, producer: u32, number: u64) -> Value {
        Value { mark: self.seed as u32, stream, producer, number }
    }

    pub fn acknowledged(&self, k: Key, at: &[(i64, u32)]) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for (off, count) in at {
            let end = ends.entry(k).or_default();
            *end = (*end).max(off + i64::from(*count));
            self.acknowledged.fetch_add(u64::from(*count), Ordering::Relaxed);
        }
    }

    pub fn acknowledged_count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn end(&self, k: Key) -> i64 {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(&k).copied().unwrap_or_default()
    }

    pub fn surprise(&self, who: &str, what: String) {
        self.recorder.write(&Record::Surprise(Surprise { t: self.now(), who: who.to_owned(), what }));
    }

    /// Runs of a batch, and what is damaged in it.
    pub fn runs<'a>(&self, first: i64, payloads: impl Iterator<Item = &'a [u8]>) -> (Vec<Run>, Vec<Bad>) {
        let (mut runs, mut bad) = (Vec::new(), Vec::new());
        for (off, payload) in (first..).zip(payloads) {
            match verify(payload) {
                Ok(value) if value.mark == self.seed as u32 => push(&mut runs, value.producer, value.number),
                Ok(value) => {
                    bad.push(Bad(off, format!("of another run: {value:?}")));
                    runs.push(Run(UNREADABLE, 0, 1));
                }
                Err(corrupt) => {
                    bad.push(Bad(off, corrupt.to_string()));
                    runs.push(Run(UNREADABLE, 0, 1));
                }
            }
        }
        (runs, bad)
    }
}

/// The payload of an event on the wire.
pub fn bytes_of(event: &v1::Event) -> &[u8] {
    match &event.payload {
        Some(v1::event::Payload::Data(data)) => data,
        Some(v1::event::Payload::Text(text)) => text.as_bytes(),
        _ => &[],
    }
}

/// One of some values, by weight.
pub fn pick<T: Copy>(rng: &mut StdRng, choices: &[(u32, T)]) -> T {
    let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
    let mut left = rng.random_range(0..total.max(1));
    for (weight, value) in choices {
        if left < *weight {
            return *value;
        }
        left -= weight;
    }
    choices[0].1
}
