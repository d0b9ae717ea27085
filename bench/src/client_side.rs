//! The application's side, as the steps share it: publishing single events, and counting what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventflow::{Consumer, Event, Producer, Record};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use crate::Result;
use crate::payloads::Pool;

/// Events between looks at the clock.
const LOOK: u64 = 256;
/// How long nothing may come before it is given up.
const STALL: Duration = Duration::from_secs(20);

/// What was published and is durable.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub events: u64,
    pub seconds: f64,
}

impl Published {
    pub fn per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

/// How events are made of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No key: the producer chooses a partition for each batch.
    None,
    /// One of 10,000 keys: each event goes to the key's partition.
    Many,
}

/// Publishes as fast as the producer takes single events, for so long, and flushes.
pub async fn publish_for(producer: &Producer, pool: &mut Pool, keys: Keys, span: Duration) -> Result<Published> {
    let start = Instant::now();
    let mut events = 0;
    while start.elapsed() < span {
        for _ in 0..LOOK {
            let event = Event::new(pool.next());
            let event = match keys {
                Keys::None => event,
                Keys::Many => event.with_key(format!("customer-{}", events * 7_919 % 10_000)),
            };
            // The flush below tells of failures.
            drop(producer.send(event).await?);
            events += 1;
        }
    }
    producer.flush().await?;
    Ok(Published { events, seconds: start.elapsed().as_secs_f64() })
}

/// What a consumer has seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    records: AtomicU64,
    /// Records that were not the next of their partition.
    out_of_order: AtomicU64,
    failed: AtomicBool,
}

impl Seen {
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

/// A consumer that goes through its records one by one, as an application does. Dropping it ends it.
pub struct Follower {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Calls `each` with every record.
    pub fn start(consumer: Consumer, each: impl FnMut(&Record) + Send + 'static) -> Self {
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(follow(consumer, Arc::clone(&seen), each));
        Self { seen, task }
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Returns when so many records have been seen, each the next of its partition.
    pub async fn until(&self, records: u64) -> Result<()> {
        until_together(std::slice::from_ref(self), records).await
    }
}

/// Returns when members that each keep their partitions have seen so many records together, each the next of its partition.
pub async fn until_together(followers: &[Follower], records: u64) -> Result<()> {
    let sum = |count: fn(&Seen) -> u64| followers.iter().map(|follower| count(&follower.seen)).sum::<u64>();
    let mut last = (0, Instant::now());
    loop {
        let now = sum(Seen::records);
        if now >= records {
            break;
        }
        if followers.iter().any(|follower| follower.seen.failed.load(Ordering::Relaxed)) {
            return Err("a consumer ended with an error".into());
        }
        if now > last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > STALL {
            return Err(format!("nothing came for {STALL:?}: {now} of {records} were delivered").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match (sum(Seen::records), sum(|seen| seen.out_of_order.load(Ordering::Relaxed))) {
        (seen, 0) if seen == records => Ok(()),
        (seen, misplaced) => {
            Err(format!("{seen} records were delivered of {records}, {misplaced} of them out of order").into())
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut consumer: Consumer, seen: Arc<Seen>, mut each: impl FnMut(&Record)) {
    let mut next: Vec<i64> = Vec::new();
    let mut records = 0;
    while let Some(Ok(record)) = consumer.next().await {
        let partition = record.partition() as usize;
        if next.len() <= partition {
            next.resize(partition + 1, 0);
        }
        if record.offset() != next[partition] {
            seen.out_of_order.fetch_add(1, Ordering::Relaxed);
        }
        next[partition] = record.next_offset();
        each(&record);
        records += 1;
        seen.records.store(records, Ordering::Relaxed);
    }
    seen.failed.store(true, Ordering::Relaxed);
}
