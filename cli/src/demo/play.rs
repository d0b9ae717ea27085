//! The play itself: stream and groups, members on both brokers, everything published, everything seen, lag gone.

use std::{sync::Arc, time::Duration};

use eventflow::{Client, GroupSpec, Position, StreamSpec};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Counter},
    catalogue::Catalogue,
    follow::Group,
    publish::{self, Published},
    stage::{Preferred, Stage},
    verdict::Verdict,
};
use crate::failure::{Exit, Failure, Result};

pub(super) const STREAM: &str = "earthquakes";
const PARTITIONS: u32 = 8;

/// How long after the last receipt the groups may take to see everything: several times what a dead broker's lease takes
/// to run out.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Who follows, and through which broker.
const MEMBERS: [(&str, &str, Preferred); 4] = [
    ("statistics", "statistics-1", Preferred::First),
    ("statistics", "statistics-2", Preferred::Second),
    ("statistics", "statistics-3", Preferred::Second),
    ("strong-quakes", "strong-quakes-1", Preferred::First),
];

pub(super) async fn play(
    stage: &mut Stage,
    catalogue: &Arc<Catalogue>,
    rate: f64,
    board: &Arc<Board>,
) -> Result<Verdict> {
    let operator = stage.client(Preferred::Second, "demo-operator")?;
    board.step("creating the stream and two consumer groups");
    operator.streams().create(STREAM, StreamSpec::default().partitions(PARTITIONS)).await?;
    let groups = [
        Group::new("statistics", Counter::Statistics, catalogue.len(), board),
        Group::new("strong-quakes", Counter::StrongQuakes, catalogue.len(), board),
    ];
    for group in &groups {
        let spec = GroupSpec::default();
        operator.groups().create(group.name, STREAM, Position::Earliest, spec).await?;
    }
    let stop = CancellationToken::new();
    let mut members = join(stage, &groups, &stop).await?;
    board.tell(who_is_where(&operator, &groups).await?);
    board.step("publishing while both groups follow");
    let published = tokio::select! {
        published = run(stage, catalogue, rate, board, &groups) => published?,
        failure = first_failure(&mut members) => return Err(failure),
        never = board.show() => match never {},
    };
    board.step("committing and leaving");
    stop.cancel();
    while let Some(member) = members.join_next().await {
        member.map_err(|_| panicked())??;
    }
    board.step("asking for the lag");
    let mut lag = Vec::new();
    for group in &groups {
        lag.push((group.name, operator.groups().lag(group.name).await?.events));
    }
    let [statistics, strong] = groups;
    Ok(Verdict { published, statistics, strong, lag })
}

/// Publishes everything, and waits until both groups have seen everything.
async fn run(
    stage: &mut Stage,
    catalogue: &Catalogue,
    rate: f64,
    board: &Board,
    groups: &[Group; 2],
) -> Result<Published> {
    let client = stage.client(Preferred::First, "demo-producer")?;
    let producer = client.producer(STREAM).build().await?;
    let published = publish::publish(producer, catalogue.events(), rate, stage, board).await?;
    board.step("waiting until both groups have seen everything");
    let [one, other] = groups;
    let complete = async { tokio::join!(one.complete(), other.complete()) };
    if tokio::time::timeout(LONGEST_WAIT, complete).await.is_err() {
        // The verdict says what is missing.
        board.tell(format!("{} s later, events are still missing", LONGEST_WAIT.as_secs()));
    }
    Ok(published)
}

async fn join(stage: &Stage, groups: &[Group; 2], stop: &CancellationToken) -> Result<JoinSet<Result<()>>> {
    let mut members = JoinSet::new();
    for (group_name, member, preferred) in MEMBERS {
        let client = stage.client(preferred, "demo")?;
        let consumer = client.consumer(group_name).member_name(member).build().await?;
        if let Some(group) = groups.iter().find(|group| group.name == group_name) {
            members.spawn(group.clone().follow(consumer, stop.clone()));
        }
    }
    Ok(members)
}

/// Ends only when a member does: none should while there is something to see.
async fn first_failure(members: &mut JoinSet<Result<()>>) -> Failure {
    match members.join_next().await {
        Some(Ok(Err(failure))) => failure,
        Some(Err(_)) => panicked(),
        Some(Ok(Ok(()))) | None => {
            Failure::new(Exit::Error, "MEMBER_ENDED", "a member ended before it had seen everything")
        }
    }
}

fn panicked() -> Failure {
    Failure::new(Exit::Error, "INTERNAL", "a member of a group panicked")
}

async fn who_is_where(operator: &Client, groups: &[Group; 2]) -> Result<String> {
    let mut places = Vec::new();
    for group in groups {
        for member in operator.groups().members(group.name).await? {
            places.push(format!("{} on {}", member.name, member.broker));
        }
    }
    Ok(places.join(", "))
}
