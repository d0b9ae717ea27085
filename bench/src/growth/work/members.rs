//! One group whose members share the 1,024 partitions of a stream.

use std::time::Instant;

use eventflow::StreamSpec;

use super::crowd;
use crate::Result;
use crate::client_side::{Keys, publish_for, until_together};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};
use crate::steps::Step;

const STREAM: &str = "members";
const PARTITIONS: usize = 1_024;

pub async fn measure(step: &Step<'_>, count: usize) -> Result<Vec<Sample>> {
    let ground = step.ground;
    ground.stream(STREAM, StreamSpec::default().partitions(PARTITIONS as u32)).await?;
    ground.group(STREAM, STREAM).await?;
    let (clients, groups) = (crowd::clients(ground, count)?, [STREAM.to_owned()]);
    let start = Instant::now();
    let followers = crowd::join(&clients, &groups, count).await?;
    crowd::settled(&clients[0], &groups, count, PARTITIONS).await?;
    let settling = start.elapsed().as_secs_f64();
    let producer = ground.client()?.producer(STREAM).build().await?;
    let mut pool = Pool::new(Kind::Json, 200);
    let warm = publish_for(&producer, &mut pool, Keys::Many, step.warm_up).await?;
    until_together(&followers, warm.events).await?;
    let start = Instant::now();
    let published = publish_for(&producer, &mut pool, Keys::Many, step.span).await?;
    until_together(&followers, warm.events + published.events).await?;
    let rate = published.events as f64 / start.elapsed().as_secs_f64();
    ground.check_stored(STREAM, warm.events + published.events).await?;
    Ok(vec![Sample::new("end_to_end", rate), Sample::new("settling", settling)])
}
