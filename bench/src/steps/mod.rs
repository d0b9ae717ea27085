//! What is measured through the client, one file a step.

pub mod catch_up;
pub mod end_to_end;
pub mod fan_out;
pub mod producers;
pub mod publish;
pub mod publish_latency;
pub mod push_latency;
pub mod retry_storm;
pub mod rules;
pub mod schema;
pub mod shared;

use std::time::Duration;

use crate::Result;
use crate::client_side::{Keys, publish_for};
use crate::ground::Ground;
use crate::payloads::Pool;

/// Where and for how long.
pub struct Step<'a> {
    pub ground: &'a Ground,
    pub span: Duration,
    pub warm_up: Duration,
}

impl Step<'_> {
    /// A new stream and a producer that has published for the warm-up; also answers how many events.
    async fn warm_producer(&self, stream: &str, pool: &mut Pool, keys: Keys) -> Result<(eventflow::Producer, u64)> {
        self.warm_producer_of(stream, eventflow::StreamSpec::default(), pool, keys).await
    }

    /// The same for a stream with this spec.
    async fn warm_producer_of(
        &self,
        stream: &str,
        spec: eventflow::StreamSpec,
        pool: &mut Pool,
        keys: Keys,
    ) -> Result<(eventflow::Producer, u64)> {
        self.ground.stream(stream, spec).await?;
        let producer = self.ground.client()?.producer(stream).build().await?;
        let warm = publish_for(&producer, pool, keys, self.warm_up).await?;
        self.ground.settle().await?;
        Ok((producer, warm.events))
    }
}
