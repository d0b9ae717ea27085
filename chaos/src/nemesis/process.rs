//! Faults of the brokers' processes.

use std::sync::Arc;
use std::time::Duration;

use eventflow_testkit::Signal;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::{Hit, Kind, Plan};
use crate::Result;
use crate::load::World;

/// How long a pause outlasts the lease: the sweep, and time for others to take over.
const BEYOND: Duration = Duration::from_millis(1_500);

pub async fn inject(world: &Arc<World>, plan: &Plan, kind: Kind, rng: &mut StdRng) -> Result<Hit> {
    let places = &world.ground.places;
    let index = rng.random_range(0..places.len());
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
            return Ok(Hit { target: "all".to_owned(), back: Some(world.now()) });
        }
        Kind::PauseBroker => {
            let time = plan.lease.mul_f64(rng.random_range(0.1..0.8));
            pause(world, index, time).await;
        }
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
            return Ok(Hit { target: "one after the other".to_owned(), back: Some(world.now()) });
        }
    }
    Ok(Hit { target: format!("b{index}"), back: Some(world.now()) })
}

async fn pause(world: &World, index: usize, time: Duration) {
    let broker = world.ground.places[index].broker.lock().await;
    broker.signal(Signal::STOP);
    sleep(time).await;
    broker.signal(Signal::CONT);
}
