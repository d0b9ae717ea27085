//! Somebody whose key is revoked while it is used: for calls to every broker, and on a stream that stays open.

use std::sync::Arc;
use std::time::Duration;

use eventflow::Client;
use eventflow::api_keys::{Grant, KeySpec, Scope};
use eventflow_proto::v1::{self, position::At};
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::JOBS;
use super::door::failed;
use super::world::{Stage, World};
use crate::Result;
use crate::ground::BROKERS;
use crate::history::{Outcome, Record, Revoke, Use};

const CALL: Duration = Duration::from_secs(4);
/// A key is used for so long after it was revoked.
const AFTER: Duration = Duration::from_secs(9);
/// Frames of a stream are written down so seldom.
const FRAMES: Duration = Duration::from_millis(500);

/// One key after the other, until the run is over.
pub async fn run(world: Arc<World>, role: u64) -> Result<()> {
    let mut rng = world.rng(role);
    let client = world.client(role as usize, JOBS)?;
    let mut streams = JoinSet::new();
    while !world.is(Stage::Over) {
        let scopes = [Scope::Publish, Scope::Consume, Scope::Read].map(Grant::everywhere);
        let made = client.api_keys().create(KeySpec::new(scopes).description("to be revoked").test()).await;
        // Without a secret it is of no use: the answer of an earlier attempt was lost.
        let Some(made) = made.ok().filter(|made| !made.secret.is_empty()) else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        let key = world.session();
        let broker = world.any_broker(&mut rng);
        streams.spawn(stream(Arc::clone(&world), key, made.secret.clone(), broker));
        let lives = Duration::from_millis(rng.random_range(1_500..5_000));
        let ends = Instant::now() + lives;
        while Instant::now() < ends && !world.is(Stage::Over) {
            call(&world, key, &made.secret, rng.random_range(0..BROKERS * 2)).await?;
            sleep(Duration::from_millis(rng.random_range(50..250))).await;
        }
        revoke(&world, &client, key, &made.info.id).await;
        let ends = Instant::now() + AFTER;
        while Instant::now() < ends && !world.is(Stage::Over) {
            call(&world, key, &made.secret, rng.random_range(0..BROKERS * 2)).await?;
            sleep(Duration::from_millis(rng.random_range(50..250))).await;
        }
        while streams.try_join_next().is_some() {}
    }
    while streams.join_next().await.is_some() {}
    client.close().await;
    Ok(())
}

/// Until it is known to be done, or the run is over.
async fn revoke(world: &World, client: &Client, key: u32, id: &str) {
    while !world.is(Stage::Over) {
        let t0 = world.now();
        let done = client.api_keys().revoke(id).await.is_ok();
        let outcome = if done { Outcome::Ok } else { Outcome::Info };
        world.recorder.write(&Record::Revoke(Revoke { key, t0, t1: world.now(), outcome }));
        if done {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// One call through one of the brokers: a look at a group, or a publish that is only checked.
async fn call(world: &World, key: u32, secret: &str, choice: usize) -> Result<()> {
    let mut door = world.door_with(0, choice, secret)?;
    let stream = world.setup.streams[usize::from(JOBS)].name.clone();
    let t0 = world.now();
    let (call, answer) = if choice < BROKERS {
        let request = v1::GetStreamRequest { name: stream };
        ("GetStream", timeout(CALL, door.streams.get_stream(request)).await.map(|answer| answer.map(drop)))
    } else {
        let events = vec![v1::Event::default()];
        let request =
            v1::PublishRequest { stream, events, partition: Some(0), validate_only: true, ..Default::default() };
        ("Publish", timeout(CALL, door.publisher.publish(request)).await.map(|answer| answer.map(drop)))
    };
    let code = match answer {
        Ok(Ok(())) => "Ok".to_owned(),
        Ok(Err(status)) => failed(&status).1,
        Err(_) => "no answer in time".to_owned(),
    };
    note(world, key, t0, call, code);
    Ok(())
}

/// Follows a stream with the key until that ends it, or the run is over.
async fn stream(world: Arc<World>, key: u32, secret: String, broker: usize) {
    let Ok(mut door) = world.door_with(1, broker, &secret) else { return };
    let request = v1::ReadRequest {
        stream: world.setup.streams[usize::from(JOBS)].name.clone(),
        from: Some(v1::Position { at: Some(At::Latest(true)) }),
        follow: true,
        ..Default::default()
    };
    let Ok(Ok(frames)) = timeout(CALL, door.log.read(request)).await else { return };
    let mut frames = frames.into_inner();
    let mut noted = Instant::now();
    loop {
        let frame = tokio::select! {
            () = world.reached(Stage::Over) => return,
            frame = frames.message() => frame,
        };
        let t0 = world.now();
        match frame {
            Ok(Some(_)) if noted.elapsed() < FRAMES => {}
            Ok(Some(_)) => {
                noted = Instant::now();
                note(&world, key, t0, "stream", "Ok".to_owned());
            }
            Ok(None) => return note(&world, key, t0, "stream", "the end".to_owned()),
            Err(status) => return note(&world, key, t0, "stream", failed(&status).1),
        }
    }
}

fn note(world: &World, key: u32, t0: u64, call: &str, code: String) {
    world.recorder.write(&Record::Use(Use { key, t0, t1: world.now(), call: call.to_owned(), code }));
}
