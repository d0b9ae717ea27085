//! A producer whose events have idempotency keys: it repeats them, with the same content and with another, alone, among new events,
//! and at two brokers at once.

use std::sync::Arc;
use std::time::Duration;

use eventflow_proto::v1;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::door::{Answer, Door};
use super::raw_producer::{DECIDE, attempt};
use super::world::{World, pick};
use crate::Result;
use crate::ground::BROKERS;
use crate::history::{Key, Micros, Outcome, ProducerKind, Publish, Record, Run, event_key, payload};

/// Events that may be repeated.
const RECENT: usize = 200;

/// An event, by its number, and the key that it goes under: the one of an event whose content it is not, now and then.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u64,
    key: u64,
}

struct Keyed {
    world: Arc<World>,
    rng: StdRng,
    doors: Vec<Door>,
    p: u32,
    k: Key,
    next: u64,
    /// Acknowledged, and sent under its own key.
    recent: Vec<u64>,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
enum Move {
    New,
    Again,
    OtherContent,
    Mixed,
    Duel,
}

pub async fn run(world: Arc<World>, k: Key, role: u64) -> Result<()> {
    let doors = (0..BROKERS).map(|broker| world.door(role as usize, broker, k.0)).collect::<Result<Vec<_>>>()?;
    let (rng, p) = (world.rng(role), world.producer(ProducerKind::Keyed, k.0));
    let mut keyed = Keyed { world, rng, doors, p, k, next: 0, recent: Vec::new() };
    while keyed.world.is_publishing() {
        keyed.act().await;
        let pause = keyed.rng.random_range(20.0..90.0) * keyed.world.pace;
        sleep(Duration::from_secs_f64(pause / 1_000.0)).await;
    }
    Ok(())
}

impl Keyed {
    async fn act(&mut self) {
        let moves = [(80, Move::New), (8, Move::Again), (4, Move::OtherContent), (4, Move::Mixed), (4, Move::Duel)];
        // Where the log may lose its end, a key may go with it, and a repeat is none then.
        let may_repeat = !self.recent.is_empty() && !self.world.setup.loss_allowed;
        match if may_repeat { pick(&mut self.rng, &moves) } else { Move::New } {
            Move::New => {
                let count = pick(&mut self.rng, &[(6, 1), (2, 3)]);
                let new = self.new_events(count);
                self.decided(&new, None).await;
            }
            Move::Again => {
                let known = self.known();
                self.decided(&[known], Some(known.number)).await;
            }
            Move::Mixed => {
                let known = self.known();
                let mut events = self.new_events(2);
                events.insert(1, known);
                self.decided(&events, Some(known.number)).await;
            }
            Move::OtherContent => {
                let (known, other) = (self.known(), self.new_events(1)[0]);
                let broker = self.rng.random_range(0..BROKERS);
                self.once(Sent { key: known.key, ..other }, broker).await;
            }
            Move::Duel => self.duel().await,
        }
    }

    fn new_events(&mut self, count: u64) -> Vec<Sent> {
        let first = self.next;
        self.next += count;
        (first..self.next).map(|number| Sent { number, key: number }).collect()
    }

    fn known(&mut self) -> Sent {
        let number = self.recent[self.rng.random_range(0..self.recent.len())];
        Sent { number, key: number }
    }

    fn request(&self, events: &[Sent]) -> v1::PublishRequest {
        let event = |sent: &Sent| {
            let value = self.world.value(self.k.0, self.p, sent.number);
            // Always the same, whenever it is sent.
            let data = payload(value, [0, 100, 300][(sent.number % 3) as usize]).into();
            v1::Event {
                payload: Some(v1::event::Payload::Data(data)),
                key: Some(format!("{:?}", event_key(self.p, sent.number))),
                idempotency_key: Some(self.key(sent.key)),
                ..Default::default()
            }
        };
        v1::PublishRequest {
            stream: self.world.setup.streams[usize::from(self.k.0)].name.clone(),
            events: events.iter().map(event).collect(),
            partition: Some(u32::from(self.k.1)),
            ..Default::default()
        }
    }

    fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.p)
    }

    /// Sends a request until it is decided, whichever broker answers.
    async fn decided(&mut self, events: &[Sent], known: Option<u64>) {
        let request = self.request(events);
        let t0 = self.world.now();
        let deadline = Instant::now() + DECIDE;
        let (mut attempts, mut in_doubt) = (0, false);
        let answer = loop {
            attempts += 1;
            let broker = self.rng.random_range(0..BROKERS);
            let answer = attempt(self.doors[broker].clone(), request.clone()).await;
            in_doubt |= answer.outcome() == Outcome::Info;
            let is_final = answer.outcome() == Outcome::Ok || answer.reason == "IDEMPOTENCY_KEY_REUSED";
            if is_final || Instant::now() > deadline {
                break answer;
            }
            sleep(Duration::from_millis(self.rng.random_range(10..150))).await;
        };
        let undecided = answer.outcome() != Outcome::Ok;
        let outcome = if in_doubt && undecided { Outcome::Info } else { answer.outcome() };
        let mut places = answer.at.iter().flat_map(|(off, count)| *off..off + i64::from(*count));
        for sent in events {
            let (place, is_new) = (places.next(), known != Some(sent.number));
            if let (Some(_), true) = (place, is_new) {
                self.remember(sent.number);
            }
            self.note(*sent, t0, (outcome, place), &answer, attempts, !is_new);
        }
    }

    fn remember(&mut self, number: u64) {
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(number);
    }

    /// Sends one event once, whatever comes of it.
    async fn once(&self, sent: Sent, broker: usize) {
        let t0 = self.world.now();
        let answer = attempt(self.doors[broker].clone(), self.request(&[sent])).await;
        let place = answer.at.first().map(|(off, _)| *off);
        self.note(sent, t0, (answer.outcome(), place), &answer, 1, false);
    }

    /// Two contents under one new key, at two brokers at once: one of them, or none.
    async fn duel(&mut self) {
        let events = self.new_events(2);
        let other = Sent { key: events[0].key, ..events[1] };
        let broker = self.rng.random_range(0..BROKERS);
        tokio::join!(self.once(events[0], broker), self.once(other, (broker + 1) % BROKERS));
    }

    fn note(
        &self,
        sent: Sent,
        t0: Micros,
        (outcome, place): (Outcome, Option<i64>),
        answer: &Answer,
        attempts: u32,
        repeat: bool,
    ) {
        let at: Vec<(i64, u32)> = place.map(|off| (off, 1)).into_iter().collect();
        self.world.acknowledged(self.k, &at);
        self.world.recorder.write(&Record::Publish(Publish {
            run: Run(self.p, sent.number, 1),
            k: self.k,
            t0,
            t1: self.world.now(),
            outcome,
            at,
            duplicate: answer.duplicate,
            repeat,
            attempts,
            reason: answer.reason.clone(),
            key: self.key(sent.key),
        }));
    }
}
