//! A consumer through the SDK: it must see every event, and no error.

use std::sync::Arc;
use std::time::Duration;

use eventflow::consumer::Batch;
use eventflow::{Client, Consumer};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use super::world::{Stage, World};
use crate::Result;
use crate::history::{Bad, Deliver, Key, Record, Run};

pub async fn run(world: Arc<World>, g: u16, name: String, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let stream = world.setup.groups[usize::from(g)].stream;
    let client = world.client(role as usize, stream)?;
    while !world.is(Stage::Over) {
        let Some(mut consumer) = build(&world, &client, g, &name).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let s = world.session();
        // Now and then it is closed and opened again, by its application.
        let restless = world.setup.faults_wanted && world.is(Stage::Running);
        let until = restless.then(|| Instant::now() + Duration::from_millis(rng.random_range(4_000..15_000)));
        consume(&world, &mut consumer, g, s, until).await;
        // Closing may fail when no broker is there: then the last commit is not made, and its events come again.
        let _ = timeout(Duration::from_secs(10), consumer.close()).await;
    }
    client.close().await;
    Ok(())
}

async fn build(world: &World, client: &Client, g: u16, name: &str) -> Option<Consumer> {
    let group = &world.setup.groups[usize::from(g)].name;
    client.consumer(group).member_name(name).auto_commit(Duration::from_millis(200)).build().await.ok()
}

async fn consume(world: &World, consumer: &mut Consumer, g: u16, s: u32, until: Option<Instant>) {
    let over = world.reached(Stage::Over);
    tokio::pin!(over);
    let far = Instant::now() + Duration::from_secs(3_600);
    loop {
        let batch = tokio::select! {
            () = &mut over => return,
            () = tokio::time::sleep_until(until.unwrap_or(far)) => return,
            batch = consumer.next_batch() => batch,
        };
        match batch {
            Some(Ok(batch)) => note(world, g, s, batch),
            Some(Err(error)) => {
                // A consumer of ours that was closed badly may still hold the name for a moment: then it is fenced, not this one.
                world.surprise("an SDK consumer", format!("ended with {error}"));
                return;
            }
            None => return,
        }
    }
}

fn note(world: &World, g: u16, s: u32, batch: Batch) {
    let (k, next) = (Key(world.setup.groups[usize::from(g)].stream, batch.partition() as u16), batch.next_offset());
    let records: Vec<_> = batch.into_iter().collect();
    let Some(off) = records.first().map(eventflow::Record::offset) else { return };
    let (runs, bad): (Vec<Run>, Vec<Bad>) = world.runs(off, records.iter().map(|record| record.payload().as_ref()));
    for (expected, record) in (off..).zip(&records) {
        if record.offset() != expected {
            world.surprise("an SDK consumer", format!("a batch of {k:?} jumps from {expected} to {}", record.offset()));
        }
    }
    world.recorder.write(&Record::Deliver(Deliver {
        g,
        s,
        k,
        t: world.now(),
        epoch: 0,
        off,
        runs,
        next,
        bad,
        dealt: None,
    }));
}
