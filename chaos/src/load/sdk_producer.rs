//! A producer through the SDK: bursts of keyed events, several on their way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eventflow::{Applied, Event, Producer, Receipt};
use eventflow_proto::partition_of_key;
use rand::Rng;
use rand::rngs::StdRng;

use super::world::{World, pick};
use crate::Result;
use crate::history::{Key, Micros, Outcome, ProducerKind, Publish, Record, Run, payload};

/// Bursts on their way at most.
const BURSTS: usize = 6;

/// Receipts of one burst: all events have one key, so they go to one partition.
struct Burst {
    p: u32,
    first: u64,
    k: Key,
    t0: Micros,
    receipts: Vec<Receipt>,
}

pub async fn run(world: Arc<World>, stream: u16, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let client = world.client(role as usize, stream)?;
    let p = world.producer(ProducerKind::Sdk, stream);
    let Some(producer) = build(&world, &client, stream).await else { return Ok(()) };
    let (mut number, mut bursts) = (0, VecDeque::new());
    while world.is_publishing() {
        let burst = send(&world, &producer, &mut rng, p, stream, number).await;
        number = burst.first + burst.receipts.len() as u64;
        bursts.push_back(burst);
        if bursts.len() > BURSTS
            && let Some(oldest) = bursts.pop_front()
        {
            settle(&world, oldest).await;
        }
        let pause = rng.random_range(5.0..60.0) * world.pace;
        tokio::time::sleep(Duration::from_secs_f64(pause / 1_000.0)).await;
    }
    for burst in bursts {
        settle(&world, burst).await;
    }
    if let Err(error) = producer.close().await {
        surprise(&world, "closing failed", &error);
    }
    client.close().await;
    Ok(())
}

/// What was in doubt when the log lost its end stays in doubt, and is told: that is no surprise where it may.
fn surprise(world: &World, what: &str, error: &eventflow::Error) {
    if !(world.setup.loss_allowed && error.reason() == "OUT_OF_SEQUENCE") {
        world.surprise("an SDK producer", format!("{what}: {error}"));
    }
}

/// Starting needs a broker, and there may be none for a while.
async fn build(world: &World, client: &eventflow::Client, stream: u16) -> Option<Producer> {
    let name = &world.setup.streams[usize::from(stream)].name;
    while world.is_publishing() {
        if let Ok(producer) = client.producer(name).in_flight_per_partition(8).batch_events(500).build().await {
            return Some(producer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn send(world: &World, producer: &Producer, rng: &mut StdRng, p: u32, stream: u16, first: u64) -> Burst {
    let count = pick(rng, &[(3, 1u64), (4, 7), (4, 64), (2, 500)]);
    let size = pick(rng, &[(2, 0usize), (8, 100), (4, 1_000)]);
    let size = if count == 1 && rng.random_bool(0.05) { 60_000 } else { size };
    // A tenth goes to one hot key.
    let key = if rng.random_bool(0.1) { "hot".to_owned() } else { format!("key-{}", rng.random_range(0..64)) };
    let partitions = u32::from(world.setup.streams[usize::from(stream)].partitions);
    let k = Key(stream, partition_of_key(key.as_bytes(), partitions) as u16);
    let t0 = world.now();
    let mut receipts = Vec::new();
    for number in first..first + count {
        let event = Event::new(payload(world.value(stream, p, number), size)).with_key(key.clone());
        match producer.send(event).await {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                world.surprise("an SDK producer", format!("`send` failed: {error}"));
                break;
            }
        }
    }
    Burst { p, first, k, t0, receipts }
}

/// Writes down what became of a burst, in pieces of one outcome.
async fn settle(world: &World, burst: Burst) {
    let mut pieces: Vec<Publish> = Vec::new();
    for (number, receipt) in (burst.first..).zip(burst.receipts) {
        let (outcome, place, duplicate, reason, partition) = match receipt.await {
            Ok(appended) => {
                (Outcome::Ok, Some(appended.offset), appended.duplicate, String::new(), appended.partition as u16)
            }
            Err(error) => {
                surprise(world, "a receipt failed", &error);
                let outcome = if error.applied() == Applied::No { Outcome::Fail } else { Outcome::Info };
                (outcome, None, false, error.reason().to_owned(), burst.k.1)
            }
        };
        let k = Key(burst.k.0, partition);
        let t1 = world.now();
        match pieces.last_mut().filter(|piece| piece.outcome == outcome && piece.k == k) {
            Some(piece) => {
                (piece.run.2, piece.t1) = (piece.run.2 + 1, t1);
                piece.duplicate |= duplicate;
                match (piece.at.last_mut(), place) {
                    (Some((off, count)), Some(place)) if *off + i64::from(*count) == place => *count += 1,
                    (_, place) => piece.at.extend(place.map(|place| (place, 1))),
                }
            }
            None => pieces.push(Publish {
                run: Run(burst.p, number, 1),
                k,
                t0: burst.t0,
                t1,
                outcome,
                at: place.map(|place| (place, 1)).into_iter().collect(),
                duplicate,
                repeat: false,
                attempts: 1,
                reason,
                key: String::new(),
            }),
        }
    }
    for piece in pieces {
        world.acknowledged(piece.k, &piece.at);
        world.recorder.write(&Record::Publish(piece));
    }
}
