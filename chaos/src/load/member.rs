//! A member of a group that speaks raw gRPC, so that its leases and commits are seen, and that misbehaves now and then: it
//! vanishes, leaves, takes another's name, commits backwards or too far, and goes on committing when its broker has been silent.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::session::{End, Session};
use super::world::{Stage, World, pick};
use crate::Result;
use crate::ground::BROKERS;

/// A fenced or forgotten session tries to go on for so long.
const AFTERLIFE: Duration = Duration::from_secs(12);

/// What a member does after it has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Stay as long as the session lasts.
    Stay,
    /// Leave in order.
    Leave,
    /// Drop both streams without a word.
    Vanish,
    /// Come again under the same name through another broker, while the old session goes on.
    Again,
}

/// One member, through all its sessions, until the run is over.
pub async fn run(world: Arc<World>, g: u16, name: String, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let mut ghosts = JoinSet::new();
    while !world.is(Stage::Over) {
        let stay = plan(&world, &mut rng);
        let (broker, zone) = (rng.random_range(0..BROKERS), role as usize);
        let Some(mut session) = Session::join(&world, g, &name, zone, broker, rng.random(), stay != Plan::Stay).await
        else {
            sleep(Duration::from_millis(rng.random_range(50..300))).await;
            continue;
        };
        let until =
            (stay != Plan::Stay).then(|| Instant::now() + Duration::from_millis(rng.random_range(1_000..6_000)));
        let end = session.serve(until).await;
        match (end, stay) {
            (End::Over, _) | (End::Time, Plan::Leave) => session.leave().await,
            // Its broker is silent, or its name is taken: it does not know, and goes on committing.
            (End::Silent, _) | (End::Time, Plan::Again) => {
                ghosts.spawn(async move {
                    session.haunt(Instant::now() + AFTERLIFE).await;
                });
            }
            _ => {}
        }
        while ghosts.try_join_next().is_some() {}
    }
    while ghosts.join_next().await.is_some() {}
    Ok(())
}

/// Only while faults are about: in calm, nobody misbehaves.
fn plan(world: &World, rng: &mut StdRng) -> Plan {
    if !world.setup.faults_wanted || !world.is(Stage::Running) {
        return Plan::Stay;
    }
    pick(rng, &[(5, Plan::Stay), (2, Plan::Leave), (2, Plan::Vanish), (3, Plan::Again)])
}
