//! Trouble that clients and operators make: members that come and go, seeks, purges, and brokers that hear no hints.

use std::sync::Arc;
use std::time::Duration;

use eventflow::streams::Purge as Below;
use eventflow::{Client, Position};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Injected, Kind};
use crate::ground::BROKERS;
use crate::history::{Key, Outcome, Purge, Record, Seek};
use crate::load::{Session, World};

pub async fn inject(world: &Arc<World>, kind: Kind, rng: &mut StdRng) -> Injected {
    match kind {
        Kind::MemberStorm => storm(world, rng).await,
        Kind::DuplicateMember => duplicate(world, rng).await,
        Kind::SuppressedHints => suppress(world, rng).await,
        Kind::Seek => seek(world, rng).await,
        _ => purge(world, rng).await,
    }
}

/// Members that join and go away again, some in order, some without a word.
async fn storm(world: &Arc<World>, rng: &mut StdRng) -> Injected {
    let count = rng.random_range(3..8);
    let mut members = JoinSet::new();
    for member in 0..count {
        let (world, seed): (_, u64) = (Arc::clone(world), rng.random());
        let time = Duration::from_millis(rng.random_range(200..2_500));
        let (broker, leaves) = (rng.random_range(0..BROKERS), rng.random_bool(0.5));
        members.spawn(async move {
            let name = format!("storm-{member}");
            if let Some(mut session) = Session::join(&world, 0, &name, member, broker, seed, true).await {
                session.serve(Some(Instant::now() + time)).await;
                if leaves {
                    session.leave().await;
                }
            }
        });
    }
    while members.join_next().await.is_some() {}
    Ok(format!("{count} members").into())
}

/// Two members of one name at two brokers, at the same time; both believe in what they hold.
async fn duplicate(world: &Arc<World>, rng: &mut StdRng) -> Injected {
    let (first, g) = (rng.random_range(0..BROKERS), if rng.random_bool(0.5) { 0 } else { 2 });
    let mut old =
        Session::join(world, g, "twin", 0, first, rng.random(), true).await.ok_or("the first could not join")?;
    old.serve(Some(Instant::now() + Duration::from_millis(1_500))).await;
    let new = Session::join(world, g, "twin", 1, first + 1, rng.random(), true).await;
    let mut new = new.ok_or("the second could not join")?;
    let until = Instant::now() + Duration::from_secs(2);
    tokio::join!(old.haunt(until), new.serve(Some(until)));
    new.leave().await;
    Ok(format!("group {g}").into())
}

/// Every listening backend is ended, again and again.
async fn suppress(world: &Arc<World>, rng: &mut StdRng) -> Injected {
    let until = Instant::now() + Duration::from_millis(rng.random_range(1_000..4_000));
    let sql = "application_name = 'eventflow hints'";
    let mut ended = 0;
    while Instant::now() < until {
        // Another fault may have taken the database away.
        let Ok(client) = world.ground.postgres.connect().await else {
            sleep(Duration::from_millis(150)).await;
            continue;
        };
        let end = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and {sql}"
        );
        if let Ok(row) = client.query_one(&end, &[]).await {
            ended += row.get::<_, i64>(0);
        }
        sleep(Duration::from_millis(150)).await;
    }
    Ok(format!("{ended} listeners ended").into())
}

/// Moves a group whose leases are seen back, several times in a row: what is on its way to a member is void each time.
async fn seek(world: &Arc<World>, rng: &mut StdRng) -> Injected {
    let g = if rng.random_bool(0.5) { 0u16 } else { 2 };
    let stream = world.setup.groups[usize::from(g)].stream;
    let k = Key(stream, rng.random_range(0..world.setup.streams[usize::from(stream)].partitions));
    let client = world.client(rng.random_range(0..8), stream).map_err(|error| error.to_string())?;
    let times = rng.random_range(1..6);
    let mut moved = Vec::new();
    for _ in 0..times {
        moved.push(move_back(world, &client, g, k, rng).await?);
        sleep(Duration::from_millis(rng.random_range(20..200))).await;
    }
    client.close().await;
    Ok(format!("group {g} {k:?} to {}", moved.join(", ")).into())
}

/// Moves it once, to an offset that it has done.
async fn move_back(world: &World, client: &Client, g: u16, k: Key, rng: &mut StdRng) -> Result<String, String> {
    let group = &world.setup.groups[usize::from(g)];
    let lag = client.groups().lag(&group.name).await.map_err(|error| error.to_string())?;
    let stand =
        lag.partitions.iter().find(|partition| partition.partition == u32::from(k.1)).ok_or("no such partition")?;
    let room = (stand.next_offset - stand.floor).max(0);
    if room == 0 {
        return Err("nothing is done yet".to_owned());
    }
    let to = stand.next_offset - rng.random_range(0..room.min(300)) - 1;
    let t0 = world.now();
    let sought = client.groups().seek(&group.name, Some(u32::from(k.1)), Position::Offset(to.max(stand.floor))).await;
    let (outcome, from) = match &sought {
        Ok(moved) => (Outcome::Ok, moved.first().map_or(0, |moved| moved.previous_offset)),
        Err(error) if error.reason() == "OFFSET_BELOW_FLOOR" => (Outcome::Fail, 0),
        Err(_) => (Outcome::Info, 0),
    };
    let to = to.max(stand.floor);
    world.recorder.write(&Record::Seek(Seek { g, k, t0, t1: world.now(), outcome, to, from }));
    Ok(format!("{to}: {outcome:?}"))
}

/// Raises a floor to where every group of the stream has come.
async fn purge(world: &Arc<World>, rng: &mut StdRng) -> Injected {
    let stream = rng.random_range(0..world.setup.streams.len()) as u16;
    let k = Key(stream, rng.random_range(0..world.setup.streams[usize::from(stream)].partitions));
    let client = world.client(rng.random_range(0..8), stream).map_err(|error| error.to_string())?;
    let mut before = i64::MAX;
    for group in world.setup.groups.iter().filter(|group| group.stream == stream) {
        let lag = client.groups().lag(&group.name).await.map_err(|error| error.to_string())?;
        let stand =
            lag.partitions.iter().find(|partition| partition.partition == u32::from(k.1)).ok_or("no such partition")?;
        before = before.min(stand.next_offset);
    }
    // A part stays for the reads that look back.
    before -= 500;
    if before <= 0 {
        return Err("too little is done yet".to_owned());
    }
    let name = &world.setup.streams[usize::from(stream)].name;
    let t0 = world.now();
    let purged = client.streams().purge(name, Below::Below { partition: u32::from(k.1), offset: before }).await;
    let outcome = if purged.is_ok() { Outcome::Ok } else { Outcome::Info };
    world.recorder.write(&Record::Purge(Purge { k, t0, t1: world.now(), outcome, before }));
    client.close().await;
    Ok(format!("{k:?} below {before}: {outcome:?}").into())
}
