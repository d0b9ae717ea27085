//! One stream that fills: at each size, how fast it takes more and how fast a new group reads all of it.

use std::time::Duration;

use super::Spans;
use crate::Result;
use crate::arguments::Place;
use crate::client_side::{Keys, publish_for};
use crate::figures::Sample;
use crate::ground::Ground;
use crate::payloads::{Kind, Pool};
use crate::steps::catch_up::{Written, read_all};

const STREAM: &str = "stored";
const BYTES: usize = 20;
/// Between looks at how full it is.
const TURN: Duration = Duration::from_millis(500);

/// A stream on its way from one size to the next.
pub struct Filling {
    ground: Ground,
    producer: eventflow::Producer,
    pool: Pool,
    written: Written,
    spans: Spans,
}

impl Filling {
    pub async fn begin(place: &Place, spans: Spans) -> Result<Self> {
        let ground = Ground::new(place, &[]).await?;
        ground.stream(STREAM, eventflow::StreamSpec::default()).await?;
        let producer = ground.client()?.producer(STREAM).build().await?;
        let written = Written { stream: STREAM.into(), events: 0 };
        Ok(Self { ground, producer, pool: Pool::new(Kind::Incompressible, BYTES), written, spans })
    }

    /// Fills it to this size, and measures there.
    pub async fn measure_at(&mut self, size: u64) -> Result<Vec<Sample>> {
        while self.written.events < size {
            self.publish(TURN).await?;
        }
        self.ground.settle().await?;
        let published = self.publish(self.spans.span).await?;
        self.ground.check_stored(STREAM, self.written.events).await?;
        let group = format!("{STREAM}-{}", self.written.events);
        let read = read_all(&self.spans.step(&self.ground), &group, &self.written).await?;
        self.ground.client()?.groups().delete_with_members(&group).await?;
        Ok(vec![Sample::new("published", published), read])
    }

    async fn publish(&mut self, span: Duration) -> Result<f64> {
        let published = publish_for(&self.producer, &mut self.pool, Keys::None, span).await?;
        self.written.events += published.events;
        Ok(published.per_second())
    }

    pub async fn end(self) -> Result<()> {
        drop(self.producer);
        self.ground.tear_down().await
    }
}
