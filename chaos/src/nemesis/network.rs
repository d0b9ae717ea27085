//! Faults of the network, on any way between clients, brokers and the database.

use std::sync::Arc;
use std::time::Duration;

use eventflow_testkit::{Action, Direction, Match, Step};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{sleep, timeout};

use super::Kind;
use crate::load::{World, pick};

/// A rule that nothing has set off by then is taken back.
const RULE: Duration = Duration::from_secs(5);

pub async fn inject(world: &Arc<World>, kind: Kind, rng: &mut StdRng) -> String {
    if matches!(kind, Kind::CutAppend | Kind::CutCommit | Kind::CutOutcome) {
        return at_message(world, kind, rng).await;
    }
    let ground = &world.ground;
    let index = rng.random_range(0..ground.places.len());
    let place = &ground.places[index];
    // Half of them between a broker and the database, half between a zone of clients and a broker.
    let (proxy, way) = match rng.random_range(0..place.doors.len() * 2) {
        zone if zone < place.doors.len() => (place.doors[zone].handle(), format!("zone {zone} – b{index}")),
        _ => (place.database.handle(), format!("b{index} – postgres")),
    };
    let direction = if rng.random_bool(0.5) { Direction::Up } else { Direction::Down };
    let time = Duration::from_millis(rng.random_range(300..6_000));
    match kind {
        Kind::Stall => {
            proxy.stall(direction);
            let both = rng.random_bool(0.4);
            if both {
                proxy.stall(opposite(direction));
            }
            sleep(time).await;
            // Half of the stalls end with a reset, so that what was held back never arrives.
            if rng.random_bool(0.5) {
                proxy.reset_all().await;
            }
            proxy.pass().await;
            format!("{way}, {} for {} ms", if both { "both ways" } else { "one way" }, time.as_millis())
        }
        Kind::Delay => {
            let by = Duration::from_millis(rng.random_range(5..400));
            proxy.delay_jittered(Direction::Up, by, by);
            proxy.delay_jittered(Direction::Down, by, by);
            sleep(time).await;
            proxy.pass().await;
            format!("{way}, {} ms for {} ms", by.as_millis(), time.as_millis())
        }
        Kind::Throttle => {
            let rate = rng.random_range(2_000..200_000);
            proxy.throttle(direction, rate);
            sleep(time).await;
            proxy.pass().await;
            format!("{way}, {rate} B/s for {} ms", time.as_millis())
        }
        Kind::Reset => {
            if rng.random_bool(0.5) {
                proxy.reset_all().await
            } else {
                proxy.close_all().await
            }
            way
        }
        Kind::Refuse => {
            proxy.refuse_new().await;
            proxy.reset_all().await;
            sleep(time).await;
            proxy.accept_new().await;
            format!("{way}, {} ms", time.as_millis())
        }
        _ => {
            let bytes = rng.random_range(1..100_000);
            proxy.cut_after(direction, bytes);
            sleep(time).await;
            proxy.pass().await;
            format!("{way}, {bytes} bytes")
        }
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    }
}

/// Cuts, resets or delays at a step of an append, of a commit, or of the outcomes of single events: what nobody knows then.
async fn at_message(world: &Arc<World>, kind: Kind, rng: &mut StdRng) -> String {
    let index = rng.random_range(0..world.ground.places.len());
    let messages = &world.ground.places[index].messages;
    let step =
        pick(rng, &[(1, Step::BeforeForward), (1, Step::BeforeSync), (1, Step::AfterForward), (3, Step::BeforeReply)]);
    let held = Duration::from_millis(rng.random_range(50..1_500));
    let action = pick(rng, &[(2, Action::Cut), (2, Action::Reset), (1, Action::Delay(held))]);
    let call = match kind {
        Kind::CutAppend => "append_v1",
        Kind::CutCommit => "commit_v1",
        _ => "settle_v1",
    };
    let matching = Match::sql_contains(call).nth(rng.random_range(1..20));
    let rule = messages.on(matching, step, action);
    let hit = timeout(RULE, async {
        while rule.times() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let hit = hit.await.is_ok();
    rule.remove();
    format!("b{index}, {action:?} {step:?}{}", if hit { "" } else { ", not reached" })
}
