//! The same work spread over brokers: four producers of one stream, and a group of four that follows.

use std::time::{Duration, Instant};

use eventflow::StreamSpec;
use tokio::task::JoinSet;

use super::crowd;
use crate::Result;
use crate::client_side::{Keys, publish_for, until_together};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};
use crate::steps::Step;

const STREAM: &str = "brokers";
/// Producers, and members.
const EACH: usize = 4;
const PARTITIONS: usize = 8;

pub async fn measure(step: &Step<'_>, brokers: usize) -> Result<Vec<Sample>> {
    let ground = step.ground;
    ground.stream(STREAM, StreamSpec::default().partitions(PARTITIONS as u32)).await?;
    ground.group(STREAM, STREAM).await?;
    let clients = (0..EACH).map(|number| ground.client_of(number % brokers)).collect::<Result<Vec<_>>>()?;
    let groups = [STREAM.to_owned()];
    let followers = crowd::join(&clients, &groups, EACH).await?;
    crowd::settled(&clients[0], &groups, EACH, PARTITIONS).await?;
    let warm = together(&clients, step.warm_up).await?;
    until_together(&followers, warm).await?;
    let start = Instant::now();
    let events = together(&clients, step.span).await?;
    let published = events as f64 / start.elapsed().as_secs_f64();
    until_together(&followers, warm + events).await?;
    let delivered = events as f64 / start.elapsed().as_secs_f64();
    ground.check_stored(STREAM, warm + events).await?;
    Ok(vec![Sample::new("published", published), Sample::new("end_to_end", delivered)])
}

/// One producer a client, all at once; answers how many events.
async fn together(clients: &[eventflow::Client], span: Duration) -> Result<u64> {
    let mut tasks = JoinSet::new();
    for client in clients {
        let producer = client.producer(STREAM).build().await?;
        tasks.spawn(async move {
            let published = publish_for(&producer, &mut Pool::new(Kind::Json, 200), Keys::Many, span).await?;
            producer.close().await?;
            Ok::<_, crate::Failure>(published.events)
        });
    }
    let mut events = 0;
    while let Some(ended) = tasks.join_next().await {
        events += ended??;
    }
    Ok(events)
}
