//! Who reads without a group: followers of a stream, reads from a random place to the end, looks at a group's progress, and
//! somebody who reaches for another organization's objects.

use std::sync::Arc;
use std::time::Duration;

use eventflow::Position;
use eventflow_proto::v1::{self, position::At, read_response::Frame};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use super::door::{Door, failed};
use super::world::{Stage, World, bytes_of};
use crate::Result;
use crate::history::{Fetch, Foreign, Key, Outcome, Range, Read, Record};

const CALL: Duration = Duration::from_secs(8);

/// Follows a stream through the SDK from its beginning.
pub async fn follow(world: Arc<World>, stream: u16, role: u64) -> Result<()> {
    let client = world.client(role as usize, stream)?;
    let name = world.setup.streams[usize::from(stream)].name.clone();
    while !world.is(Stage::Over) {
        let Ok(mut reader) = client.read(&name).from(Position::Earliest).follow(true).start().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let number = world.session();
        loop {
            let batch = tokio::select! {
                () = world.reached(Stage::Over) => break,
                batch = reader.next_batch() => batch,
            };
            match batch {
                Some(Ok(batch)) => {
                    let (k, next) = (Key(stream, batch.partition() as u16), batch.next_offset());
                    let records: Vec<_> = batch.into_iter().collect();
                    let Some(off) = records.first().map(eventflow::Record::offset) else { continue };
                    let (runs, bad) = world.runs(off, records.iter().map(|record| record.payload().as_ref()));
                    world.recorder.write(&Record::Read(Read {
                        reader: number,
                        k,
                        t: world.now(),
                        off,
                        runs,
                        next,
                        bad,
                    }));
                }
                // Retention has overtaken it, or the log was truncated: it begins anew.
                Some(Err(error)) if matches!(error.reason(), "OFFSET_BELOW_FLOOR" | "LOG_TRUNCATED") => break,
                Some(Err(error)) => {
                    world.surprise("an SDK reader", format!("ended with {error}"));
                    break;
                }
                None => break,
            }
        }
    }
    client.close().await;
    Ok(())
}

/// Reads from somewhere near the end to the end, through any broker, again and again.
pub async fn ranges(world: Arc<World>, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    while !world.is(Stage::Over) {
        let stream = rng.random_range(0..world.setup.streams.len()) as u16;
        let k = Key(stream, rng.random_range(0..world.setup.streams[usize::from(stream)].partitions));
        let from = (world.end(k) - rng.random_range(0..1_500)).max(0);
        let door = world.door(rng.random_range(0..8), world.any_broker(&mut rng), stream)?;
        let range = range(&world, door, k, from).await;
        world.recorder.write(&Record::Range(range));
        sleep(Duration::from_millis(rng.random_range(100..400))).await;
    }
    Ok(())
}

/// One read from an offset to the end.
pub async fn range(world: &World, mut door: Door, k: Key, from: i64) -> Range {
    let t0 = world.now();
    let mut range = Range {
        k,
        t0,
        t1: t0,
        from,
        outcome: Outcome::Info,
        batches: Vec::new(),
        next: from,
        bad: Vec::new(),
        damaged: None,
        reason: String::new(),
    };
    let request = v1::ReadRequest {
        stream: world.setup.streams[usize::from(k.0)].name.clone(),
        partition: Some(u32::from(k.1)),
        from: Some(v1::Position { at: Some(At::Offset(from)) }),
        ..Default::default()
    };
    let reading = async {
        let mut frames = door.log.read(request).await?.into_inner();
        while let Some(message) = frames.message().await? {
            if let Some(Frame::Batch(batch)) = message.frame {
                let (off, events) = (batch.head.base_offset, &batch.head.events);
                let (runs, bad) = world.runs(off, events.iter().map(bytes_of));
                range.next = batch.head.next_offset;
                range.bad.extend(bad);
                range.batches.push((off, runs));
            }
        }
        Ok::<_, tonic::Status>(())
    };
    let ended = timeout(CALL, reading).await;
    (range.outcome, range.reason) = match ended {
        Ok(Ok(())) => (Outcome::Ok, String::new()),
        Ok(Err(status)) => failed(&status),
        Err(_) => (Outcome::Info, "no end in time".to_owned()),
    };
    range.t1 = world.now();
    range
}

/// Looks at the progress of groups.
pub async fn fetches(world: Arc<World>, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    while !world.is(Stage::Over) {
        let g = rng.random_range(0..world.setup.groups.len()) as u16;
        let zone = rng.random_range(0..8);
        let broker = world.any_broker(&mut rng);
        fetch(&world, g, zone, broker).await;
        sleep(Duration::from_millis(rng.random_range(100..300))).await;
    }
    Ok(())
}

/// Events that a group has not done yet, failed ones on their way to another attempt among them; none when nobody answers.
pub async fn fetch(world: &World, g: u16, zone: usize, broker: usize) -> Option<i64> {
    let group = &world.setup.groups[usize::from(g)];
    let mut door = world.door(zone, broker, group.stream).ok()?;
    let t0 = world.now();
    let asked = timeout(CALL, door.groups.get_lag(v1::GetLagRequest { name: group.name.clone() })).await;
    let lag = asked.ok()?.ok()?.into_inner();
    let t1 = world.now();
    for partition in &lag.partitions {
        let k = Key(group.stream, partition.partition as u16);
        world.recorder.write(&Record::Fetch(Fetch { g, k, t0, t1, off: partition.next_offset }));
    }
    Some(lag.lag_events + lag.retry_events)
}

/// The second organization asks for objects of the first: a stream and a group that it has no namesakes of.
pub async fn stranger(world: Arc<World>, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let (theirs, own) = (1u16, 2u16);
    let stream = world.setup.streams[usize::from(theirs)].name.clone();
    let group = world
        .setup
        .groups
        .iter()
        .find(|group| group.stream == theirs)
        .map_or("", |group| group.name.as_str())
        .to_owned();
    while !world.is(Stage::Over) {
        let mut door = world.door(rng.random_range(0..8), world.any_broker(&mut rng), own)?;
        let t0 = world.now();
        let (call, status) = reach(&mut door, &mut rng, &stream, &group).await;
        let code = status.map_or_else(|| "Ok".to_owned(), |status| format!("{:?}", status.code()));
        world.recorder.write(&Record::Foreign(Foreign { t0, t1: world.now(), call: call.to_owned(), code }));
        sleep(Duration::from_millis(rng.random_range(200..800))).await;
    }
    Ok(())
}

async fn reach(door: &mut Door, rng: &mut StdRng, stream: &str, group: &str) -> (&'static str, Option<tonic::Status>) {
    let (stream, group) = (stream.to_owned(), group.to_owned());
    match rng.random_range(0..5) {
        0 => {
            let request = v1::ReadRequest { stream, ..Default::default() };
            let answer = async { door.log.read(request).await?.into_inner().message().await };
            ("Read", within(answer).await)
        }
        1 => {
            let events = vec![v1::Event::default()];
            let request = v1::PublishRequest { stream, events, partition: Some(0), ..Default::default() };
            ("Publish", within(door.publisher.publish(request)).await)
        }
        2 => {
            let request = v1::SubscribeRequest { group, ..Default::default() };
            let answer = async { door.consumer.subscribe(request).await?.into_inner().message().await };
            ("Subscribe", within(answer).await)
        }
        3 => {
            let request = v1::GetStreamRequest { name: stream };
            ("GetStream", within(door.streams.get_stream(request)).await)
        }
        _ => ("GetLag", within(door.groups.get_lag(v1::GetLagRequest { name: group })).await),
    }
}

async fn within<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Option<tonic::Status> {
    match timeout(CALL, call).await {
        Ok(answer) => answer.err(),
        Err(_) => Some(tonic::Status::deadline_exceeded("no answer in time")),
    }
}
