//! The workload: producers, members, consumers and readers, each a task with randomness of its own.
//!
//! They write down what they see and judge nothing: that is the checker's work.

mod door;
mod flush;
mod hand;
mod keyed;
mod member;
mod raw_producer;
mod readers;
mod revoked;
mod sdk_consumer;
mod sdk_producer;
mod session;
mod world;

use std::sync::Arc;
use std::time::Duration;

use eventflow::{DeliveryMode, GroupSpec, Position, RetryPolicy, StreamSpec};
use tokio::task::JoinSet;

use crate::Result;
use crate::history::{Group, Key, ProducerKind, Stream};

pub use door::Door;
pub use readers::{fetch, range};
pub use session::Session;
pub use world::{FlushSample, Stage, World, pick};

/// Streams of a run: two of the first organization, a namesake of the first one in the second, and one whose events are settled
/// one by one, with far fewer of them.
pub fn streams() -> Vec<Stream> {
    let stream = |organization, name: &str, partitions| Stream { organization, name: name.into(), partitions };
    vec![stream(0, "orders", 4), stream(0, "clicks", 2), stream(1, "orders", 2), stream(0, "jobs", 2)]
}

/// The stream whose events are settled one by one, and the shared groups that do it: one in any order, one in that of keys.
pub const JOBS: u16 = 3;
const WORKERS: u16 = 4;
const CLERKS: u16 = 5;
/// How long a member of a shared group has for an event.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(3);
/// Failed attempts after which an event is a dead letter.
const ATTEMPTS: u32 = 3;

/// Groups of a run: of each stream one, and two of the first and the last.
pub fn groups() -> Vec<Group> {
    let group = |stream, name: &str, seen| Group { stream, name: name.into(), seen, ..Group::default() };
    let workers = Group { shared: Some(ATTEMPTS), ..group(JOBS, "workers", false) };
    vec![
        group(0, "billing", true),
        group(0, "search", false),
        group(1, "audit", true),
        group(2, "billing", false),
        workers.clone(),
        Group { name: "clerks".into(), key_order: true, ..workers },
    ]
}

/// Makes streams and groups.
pub async fn prepare(world: &World) -> Result<()> {
    for (stream, wanted) in (0..).zip(&world.setup.streams) {
        let client = world.client(0, stream)?;
        client.streams().create(&wanted.name, StreamSpec::default().partitions(u32::from(wanted.partitions))).await?;
        for group in world.setup.groups.iter().filter(|group| group.stream == stream) {
            let spec = GroupSpec::default().drain_timeout(Duration::from_secs(2));
            let spec = match group.shared {
                Some(max_attempts) => {
                    spec.mode(DeliveryMode::Shared).ack_timeout(ACK_TIMEOUT).retry(retry(max_attempts))
                }
                None => spec,
            };
            let spec = if group.key_order { spec.key_order() } else { spec };
            client.groups().create(&group.name, &wanted.name, Position::Earliest, spec).await?;
        }
        client.close().await;
    }
    Ok(())
}

/// Quick, so that a run sees many dead letters.
fn retry(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { initial: Duration::from_millis(50), multiplier: 2.0, max: Duration::from_millis(500), max_attempts }
}

/// Clients of a run: those that publish end when it is quiet, the others when it is over.
#[derive(Default)]
pub struct Clients {
    pub producers: JoinSet<Result<()>>,
    pub others: JoinSet<Result<()>>,
}

/// Starts all clients.
pub fn start(world: &Arc<World>) -> Clients {
    let mut clients = Clients::default();
    for (role, stream) in [(100, 0), (101, 0), (102, 1), (103, 2)] {
        clients.producers.spawn(sdk_producer::run(Arc::clone(world), stream, role));
    }
    let raw = [
        (ProducerKind::Sequenced, Key(0, 0)),
        (ProducerKind::Sequenced, Key(0, 0)),
        (ProducerKind::Sequenced, Key(0, 2)),
        (ProducerKind::Sequenced, Key(1, 0)),
        (ProducerKind::Once, Key(0, 1)),
        (ProducerKind::Once, Key(2, 0)),
    ];
    for (role, (kind, k)) in (200..).zip(raw) {
        clients.producers.spawn(raw_producer::run(Arc::clone(world), kind, k, role));
    }
    for (role, partition) in [(220, 0), (221, 1)] {
        clients.producers.spawn(keyed::run(Arc::clone(world), Key(JOBS, partition), role));
    }
    for (role, name) in [(310, "hand-one"), (311, "hand-two"), (312, "hand-three")] {
        clients.others.spawn(hand::run(Arc::clone(world), WORKERS, name.to_owned(), role));
    }
    for (role, name) in [(320, "clerk-one"), (321, "clerk-two"), (322, "clerk-three")] {
        clients.others.spawn(hand::run(Arc::clone(world), CLERKS, name.to_owned(), role));
    }
    clients.others.spawn(revoked::run(Arc::clone(world), 540));
    for (role, (g, name)) in (300..).zip([(0, "one"), (0, "two"), (0, "three"), (2, "one"), (2, "two")]) {
        clients.others.spawn(member::run(Arc::clone(world), g, name.to_owned(), role));
    }
    for (role, (g, name)) in (400..).zip([(1, "sdk-one"), (1, "sdk-two"), (3, "sdk-one")]) {
        clients.others.spawn(sdk_consumer::run(Arc::clone(world), g, name.to_owned(), role));
    }
    for (role, stream) in [(500, 0), (501, 2)] {
        clients.others.spawn(readers::follow(Arc::clone(world), stream, role));
    }
    clients.others.spawn(readers::ranges(Arc::clone(world), 510));
    clients.others.spawn(readers::fetches(Arc::clone(world), 520));
    clients.others.spawn(readers::stranger(Arc::clone(world), 530));
    clients
}
