//! Faults of the brokers' processes.

use std::sync::Arc;
use std::time::Duration;

use eventflow_testkit::{Signal, Stop};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::{Hit, Injected, Kind, Plan};
use crate::load::{World, pick};
use crate::{Result, undo};

/// How long a pause outlasts the lease: the sweep, and time for others to take over.
const BEYOND: Duration = Duration::from_millis(1_500);

/// How often a clock jumps to and fro.
const STROBE: Duration = Duration::from_millis(100);

pub async fn inject(world: &Arc<World>, plan: &Plan, kind: Kind, rng: &mut StdRng) -> Result<Injected> {
    let places = &world.ground.places;
    let drawn = rng.random_range(0..places.len());
    // A pause past the lease is to fence somebody: it hits the broker with the most members.
    let index = if kind == Kind::PausePastLease { world.busiest() } else { drawn };
    match kind {
        Kind::KillBroker => {
            let mut broker = places[index].broker.lock().await;
            broker.kill().await?;
            sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
            broker.start().await?;
        }
        Kind::KillAllBrokers => {
            for place in places {
                place.broker.lock().await.kill().await?;
            }
            sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
            for place in places {
                place.broker.lock().await.start().await?;
            }
            return Ok(Ok(Hit { target: "all".to_owned(), back: Some(world.now()) }));
        }
        Kind::PauseBroker => {
            let time = plan.lease.mul_f64(rng.random_range(0.1..0.8));
            pause(world, index, time).await;
        }
        Kind::SkewClock => return skew(world, index, rng).await,
        Kind::PausePastLease => {
            let time = plan.lease + BEYOND + Duration::from_millis(rng.random_range(0..1_500));
            pause(world, index, time).await;
        }
        _ => {
            for place in places {
                let mut broker = place.broker.lock().await;
                broker.stop().await?;
                broker.start().await?;
            }
            return Ok(Ok(Hit { target: "one after the other".to_owned(), back: Some(world.now()) }));
        }
    }
    Ok(Ok(Hit { target: format!("b{index}"), back: Some(world.now()) }))
}

/// A broker's clock jumps far ahead or back, stays there or jumps to and fro, and comes back.
async fn skew(world: &World, index: usize, rng: &mut StdRng) -> Result<Injected> {
    let by = pick(rng, &[(1, 2i64), (1, 60), (1, 3_600), (1, 86_400 * 30)]) * pick(rng, &[(1, 1), (1, -1)]);
    let (time, strobes) = (Duration::from_millis(rng.random_range(1_000..8_000)), rng.random_bool(0.3));
    let clock = match &world.ground.places[index].clock {
        Ok(clock) => clock,
        Err(why) => return Ok(Err(why.clone())),
    };
    let asked = clock.skew(by)?;
    let until = Instant::now() + time;
    let mut is_skewed = true;
    while Instant::now() < until {
        sleep(STROBE.min(time)).await;
        if strobes {
            is_skewed = !is_skewed;
            clock.skew(if is_skewed { by } else { 0 })?;
        }
    }
    let asked = clock.skew(0)? - asked;
    if asked == 0 {
        return Ok(Err(format!("b{index} did not look at its clock")));
    }
    let how = if strobes { ", to and fro" } else { "" };
    let target = format!("b{index}, {by} s for {} ms{how}, asked {asked} times", time.as_millis());
    Ok(Ok(Hit { target, back: None }))
}

/// Before power is cut for the first time: everything so far counts as flushed.
pub async fn on_disk(world: &World) -> Result<()> {
    let Some(undo) = undo::directory() else { return Ok(()) };
    world.ground.postgres.connect().await?.batch_execute("checkpoint").await?;
    undo::forget_nothing_before_now(&undo)
}

/// Everything ends at the same moment, and what was not flushed is gone.
pub async fn power_loss(world: &Arc<World>) -> Result<Injected> {
    let Some(undo) = undo::directory() else {
        return Ok(Err("needs scripts/chaos-power-loss.sh".to_owned()));
    };
    world.ground.postgres.cluster().stop(Stop::Kill).await;
    for place in &world.ground.places {
        place.broker.lock().await.kill().await?;
    }
    let writes = undo::play_back(&undo)?;
    world.ground.postgres.cluster().start().await;
    for place in &world.ground.places {
        place.broker.lock().await.start().await?;
    }
    let back = Some(world.now());
    sleep(Duration::from_secs(2)).await;
    Ok(Ok(Hit { target: format!("{writes} writes forgotten"), back }))
}

async fn pause(world: &World, index: usize, time: Duration) {
    let broker = world.ground.places[index].broker.lock().await;
    broker.signal(Signal::STOP);
    sleep(time).await;
    broker.signal(Signal::CONT);
}
