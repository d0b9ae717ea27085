//! Subscribers that wait: what each takes of the broker's memory, what all take of the processor, and how long an event takes to
//! reach them.

use std::time::{Duration, Instant};

use eventflow::{Event, StreamSpec};

use super::crowd;
use crate::Result;
use crate::client_side::until_together;
use crate::figures::Sample;
use crate::steps::Step;

const STREAM: &str = "idle";
const PARTITIONS: usize = 16;
const MEMBERS: usize = 10;
/// Two heartbeats: what joining has left to do is done, and idling shows whole.
const QUIET: Duration = Duration::from_secs(10);

pub async fn measure(step: &Step<'_>, count: usize) -> Result<Vec<Sample>> {
    let ground = step.ground;
    ground.stream(STREAM, StreamSpec::default().partitions(PARTITIONS as u32)).await?;
    let groups: Vec<String> = (0..count / MEMBERS).map(|number| format!("{STREAM}-{number}")).collect();
    let clients = crowd::clients(ground, count)?;
    crowd::create_groups(&clients[0], &groups, STREAM).await?;
    let before = ground.broker_memory();
    let followers = crowd::join(&clients, &groups, count).await?;
    crowd::settled(&clients[0], &groups, count, PARTITIONS).await?;
    tokio::time::sleep(QUIET / 2).await;
    let (usage, start) = (ground.usage().await?, Instant::now());
    tokio::time::sleep(QUIET).await;
    let spent = ground.usage().await?.since(&usage);
    let servers = spent.broker_seconds + spent.postgres_seconds;
    let idle_seconds = start.elapsed().as_secs_f64();
    let each = ground.broker_memory().saturating_sub(before) as f64 / count as f64;
    let start = Instant::now();
    let producer = ground.client()?.producer(STREAM).build().await?;
    for partition in 0..PARTITIONS as u32 {
        drop(producer.send(Event::new("wake up").with_partition(partition)).await?);
    }
    producer.flush().await?;
    until_together(&followers, (groups.len() * PARTITIONS) as u64).await?;
    let reached = start.elapsed().as_secs_f64();
    ground.check_stored(STREAM, PARTITIONS as u64).await?;
    Ok(vec![
        Sample::new("memory", each / 1_024.0),
        Sample::new("servers", servers * 1_000.0 / idle_seconds),
        Sample::new("reached", reached),
    ])
}
