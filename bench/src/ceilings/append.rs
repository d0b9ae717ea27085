//! The bare append function, called straight from Rust with rows of 1,000 events, from one to three connections.

use std::time::{Duration, Instant};

use eventflow::StreamSpec;
use eventflow_broker::domain::event::{Encoder, Event};
use eventflow_broker::domain::ids::{OrganizationId, PartitionId};
use eventflow_broker::domain::publisher::Publishers;
use eventflow_broker::store::append::{Row, Run, RunPiece, VerdictKind, append, prepare};
use eventflow_broker::store::connect::Connection;
use tokio::task::JoinSet;
use tokio_postgres::Statement;
use uuid::Uuid;

use crate::Result;
use crate::figures::Sample;
use crate::ground::Ground;
use crate::payloads::{Kind, Pool};

const CONNECTIONS: usize = 3;
const ROW_EVENTS: usize = 1_000;
/// Rows that a connection takes in turns, made before the clock starts.
const ROWS: usize = 16;

pub async fn measure(ground: &Ground, span: Duration) -> Result<Vec<Sample>> {
    let small = all(ground, "append-ceiling-200", 200, span).await?;
    let large = all(ground, "append-ceiling-1000", 1_000, span).await?;
    let best = large.iter().copied().fold(0.0, f64::max);
    Ok(vec![
        Sample::new("append_ceiling_200_1", small[0]),
        Sample::new("append_ceiling_200_2", small[1]),
        Sample::new("append_ceiling_200_3", small[2]),
        Sample::new("append_ceiling_1000", best).with("by_connections", large.to_vec()),
    ])
}

async fn all(ground: &Ground, stream: &str, size: usize, span: Duration) -> Result<[f64; CONNECTIONS]> {
    ground.stream(stream, StreamSpec::default().partitions(CONNECTIONS as u32)).await?;
    let targets = targets(ground, stream).await?;
    let mut rates = [0.0; CONNECTIONS];
    for (index, rate) in rates.iter_mut().enumerate() {
        ground.settle().await?;
        *rate = together(ground, &targets[..=index], size, span).await?;
    }
    Ok(rates)
}

/// A partition to append to.
#[derive(Clone, Copy)]
pub struct Target {
    organization: OrganizationId,
    partition: PartitionId,
    log_epoch: i64,
}

/// The partitions of a stream.
pub async fn targets(ground: &Ground, stream: &str) -> Result<Vec<Target>> {
    let sql = "select p.organization_id, p.partition_id, l.log_epoch
               from eventflow.stream_partition p join eventflow.stream s using (stream_id), eventflow.log_state l
               where s.name = $1 order by p.partition_index";
    let rows = ground.sql().query(sql, &[&stream]).await?;
    Ok(rows
        .iter()
        .map(|row| Target {
            organization: OrganizationId(row.get(0)),
            partition: PartitionId(row.get(1)),
            log_epoch: row.get(2),
        })
        .collect())
}

/// Events a second of so many connections at once, each with a partition of its own.
async fn together(ground: &Ground, targets: &[Target], size: usize, span: Duration) -> Result<f64> {
    let mut tasks = JoinSet::new();
    for target in targets {
        let connection = ground.connect_as_broker().await?;
        let statement = prepare(&connection).await?;
        tasks.spawn(repeat(Appender::new(connection, statement, *target, ROW_EVENTS, size), span));
    }
    let mut rate = 0.0;
    while let Some(ended) = tasks.join_next().await {
        rate += ended??;
    }
    Ok(rate)
}

struct Block {
    events: Vec<Event>,
    crc: u32,
}

fn blocks(events: usize, size: usize) -> Vec<Block> {
    let mut pool = Pool::new(Kind::Json, size);
    let block = |_| {
        let events: Vec<Event> = (0..events).map(|_| Event { payload: pool.next(), ..Event::default() }).collect();
        let mut encoder = Encoder::with_capacity(events.len(), events.len() * size);
        events.iter().for_each(|event| encoder.push(event.fields()));
        Block { events, crc: encoder.finish().crc() }
    };
    (0..ROWS).map(block).collect()
}

/// Appends one row after the other to a partition, over one connection.
pub struct Appender {
    connection: Connection,
    statement: Statement,
    target: Target,
    blocks: Vec<Block>,
    calls: usize,
    appended: i64,
    producer: Uuid,
    publishers: Publishers,
}

impl Appender {
    pub fn new(connection: Connection, statement: Statement, target: Target, events: usize, size: usize) -> Self {
        let (producer, publishers) = (Uuid::new_v4(), Publishers::default());
        Self {
            connection,
            statement,
            target,
            blocks: blocks(events, size),
            calls: 0,
            appended: 0,
            producer,
            publishers,
        }
    }

    pub async fn call(&mut self) -> Result<()> {
        let block = &self.blocks[self.calls % self.blocks.len()];
        let (partition, producer, first_sequence) = (self.target.partition, self.producer, self.appended);
        let event_count = block.events.len() as i32;
        let run = Run {
            organization: self.target.organization,
            partition,
            producer,
            epoch: 0,
            first_sequence,
            event_count,
            routing_version: 0,
        };
        let row = Row {
            partition,
            size_bytes: block.events.iter().map(Event::size).sum(),
            crc: block.crc,
            events: block.events.iter().collect(),
            publishers: &self.publishers,
            pieces: vec![RunPiece { producer, epoch: 0, first_sequence, event_count }],
        };
        let verdicts = append(&self.connection, &self.statement, self.target.log_epoch, true, &[run], &[row]).await?;
        if !matches!(verdicts.as_slice(), [verdict] if matches!(verdict.kind, VerdictKind::Appended { .. })) {
            return Err(format!("a bare append was refused: {verdicts:?}").into());
        }
        self.calls += 1;
        self.appended += i64::from(event_count);
        Ok(())
    }
}

async fn repeat(mut appender: Appender, span: Duration) -> Result<f64> {
    let start = Instant::now();
    while start.elapsed() < span {
        appender.call().await?;
    }
    Ok(appender.appended as f64 / start.elapsed().as_secs_f64())
}
