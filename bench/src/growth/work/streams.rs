//! The same work over more and more streams: 64 writers, each of which appends 100 events to one of its streams after the other.

use std::time::{Duration, Instant};

use eventflow::{Event, Producer, StreamSpec};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use crate::figures::Sample;
use crate::payloads::{Kind, Pool};
use crate::steps::Step;
use crate::{Failure, Result};

const WRITERS: usize = 64;
const EVENTS: u64 = 100;
/// So that no connection has more calls open than it may have: each stream is one.
const CONNECTIONS: usize = 20;
/// Streams and producers that are made at the same time.
const TOGETHER: usize = 20;

pub async fn measure(step: &Step<'_>, count: usize) -> Result<Vec<Sample>> {
    let ground = step.ground;
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| ground.client()).collect::<Result<_>>()?;
    let start = Instant::now();
    let catalogue = clients[0].streams();
    let creates = (0..count).map(|number| catalogue.create(name(number), StreamSpec::default()));
    stream::iter(creates).buffer_unordered(TOGETHER).try_for_each(|_| async { Ok(()) }).await?;
    let created = count as f64 / start.elapsed().as_secs_f64();
    // Each stream has a producer, and each writer one at least.
    let builds =
        (0..count.max(WRITERS)).map(|number| clients[number % CONNECTIONS].producer(name(number % count)).build());
    let producers: Vec<Producer> = stream::iter(builds).buffered(TOGETHER).try_collect().await?;
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::new()).collect();
    for (number, producer) in producers.into_iter().enumerate() {
        writers[number % WRITERS].producers.push(producer);
    }
    ground.settle().await?;
    let (writers, warm, _) = together(writers, step.warm_up).await?;
    let (_writers, events, seconds) = together(writers, step.span).await?;
    ground.check_log(warm + events).await?;
    Ok(vec![Sample::new("published", events as f64 / seconds), Sample::new("created", created)])
}

fn name(number: usize) -> String {
    format!("streams-{number}")
}

struct Writer {
    producers: Vec<Producer>,
    turn: usize,
    pool: Pool,
}

impl Writer {
    fn new() -> Self {
        Self { producers: Vec::new(), turn: 0, pool: Pool::new(Kind::Json, 200) }
    }

    async fn write_for(&mut self, span: Duration) -> Result<u64> {
        let (start, mut events) = (Instant::now(), 0);
        while start.elapsed() < span {
            let producer = &self.producers[self.turn % self.producers.len()];
            self.turn += 1;
            for _ in 0..EVENTS {
                drop(producer.send(Event::new(self.pool.next())).await?);
            }
            producer.flush().await?;
            events += EVENTS;
        }
        Ok(events)
    }
}

/// All writers at once; answers how many events, and in how many seconds.
async fn together(writers: Vec<Writer>, span: Duration) -> Result<(Vec<Writer>, u64, f64)> {
    let (start, mut tasks) = (Instant::now(), JoinSet::new());
    for mut writer in writers {
        tasks.spawn(async move {
            let events = writer.write_for(span).await?;
            Ok::<_, Failure>((writer, events))
        });
    }
    let (mut writers, mut sum) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (writer, events) = ended??;
        writers.push(writer);
        sum += events;
    }
    Ok((writers, sum, start.elapsed().as_secs_f64()))
}
