//! What is done at one size of an axis. Everything is counted twice: what was acknowledged against the log, what was delivered
//! against what was published.

mod brokers;
mod crowd;
mod idle;
mod members;
mod overload;
mod stored;
mod streams;

pub use stored::Filling;

use std::time::Duration;

use eventflow::StreamSpec;

use super::axis::Axis;
use crate::arguments::Place;
use crate::client_side::Keys;
use crate::figures::Sample;
use crate::ground::Ground;
use crate::payloads::Kind;
use crate::steps::{Step, end_to_end, fan_out, producers, publish};
use crate::{Failure, Result};

/// For how long each thing is measured.
#[derive(Clone, Copy)]
pub struct Spans {
    pub span: Duration,
    pub warm_up: Duration,
}

impl Spans {
    fn step(self, ground: &Ground) -> Step<'_> {
        Step { ground, span: self.span, warm_up: self.warm_up }
    }
}

/// Measures one size of any axis but `stored`, on a fresh database.
pub async fn measure(axis: Axis, size: u64, place: &Place, spans: Spans) -> Result<Vec<Sample>> {
    let brokers = if axis == Axis::Brokers { usize::try_from(size)? } else { 1 };
    let ground = Ground::with_brokers(place, &[], brokers).await?;
    let samples = on(axis, size, &ground, spans).await?;
    ground.tear_down().await?;
    Ok(samples)
}

async fn on(axis: Axis, size: u64, ground: &Ground, spans: Spans) -> Result<Vec<Sample>> {
    let step = spans.step(ground);
    let count = usize::try_from(size)?;
    match axis {
        Axis::Producers => producers::together(&step, count).await,
        Axis::Partitions => {
            let spec = StreamSpec::default().partitions(u32::try_from(size)?);
            with_published(end_to_end::through(&step, spec, Keys::Many).await?)
        }
        Axis::Streams => streams::measure(&step, count).await,
        Axis::Groups => with_published(fan_out::to_groups(&step, size).await?),
        Axis::Members => members::measure(&step, count).await,
        Axis::Idle => idle::measure(&step, count).await,
        Axis::Payload => payload(&step, count).await,
        Axis::Brokers => brokers::measure(&step, count).await,
        Axis::Overload => overload::measure(&step, size).await,
        Axis::Stored => Err("stored events grow in one stream: see `Filling`".into()),
    }
}

/// The rate of publishing stands beside what a step measures; here it is a figure of its own.
fn with_published(mut samples: Vec<Sample>) -> Result<Vec<Sample>> {
    let rate = samples.iter().find_map(|sample| sample.details.get("published_per_second")?.as_f64());
    samples.push(Sample::new("published", rate.ok_or("the step does not say how fast it published")?));
    Ok(samples)
}

async fn payload(step: &Step<'_>, bytes: usize) -> Result<Vec<Sample>> {
    let outcome = publish::one(step, "payload", Kind::Incompressible, bytes, Keys::None).await?;
    let rate = outcome.published.per_second();
    Ok(vec![
        Sample::new("published", rate),
        Sample::new("megabytes", rate * bytes as f64 / 1e6),
        Sample::new("disk", outcome.disk_per_event() - bytes as f64),
    ])
}

/// Waits until it holds, looking ten times a second.
async fn until<F: Future<Output = Result<bool>>>(what: &str, patience: Duration, holds: impl Fn() -> F) -> Result<()> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<(), Failure>(())
    };
    tokio::time::timeout(patience, waiting).await.map_err(|_| format!("{what} took longer than {patience:?}"))?
}
