//! The play itself: stream, schema and groups, members on both brokers, everything published, everything seen, what failed seen to,
//! lag gone.

use std::{sync::Arc, time::Duration};

use eventflow::{Client, DeliveryMode, GroupSpec, Position, RetryPolicy, SchemaEnforcement, StreamSpec, groups::Lag};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Counter},
    catalogue::Catalogue,
    follow::Group,
    publish::{self, Published},
    quake,
    repair::{self, LOOK, Repaired},
    stage::{Preferred, Stage},
    verdict::Verdict,
    work::Crew,
};
use crate::failure::{Exit, Failure, Result};

pub(super) const STREAM: &str = "earthquakes";
const PARTITIONS: u32 = 8;

/// How long after the last receipt the groups may take to see everything: several times what a dead broker's lease takes
/// to run out.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The shared group, and how often it tries an event: soon again, since this is a demonstration.
const CREW: &str = "locators";
pub(super) const ATTEMPTS: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(200);
const WORKERS: [(&str, Preferred); 2] = [("locators-1", Preferred::First), ("locators-2", Preferred::Second)];

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
    let groups = [
        Group::new("statistics", Counter::Statistics, catalogue.len(), board),
        Group::new("strong-quakes", Counter::StrongQuakes, catalogue.len(), board),
    ];
    let crew = Crew::new(CREW, catalogue.failing().0, board);
    board.step("creating the stream with its schema, and three consumer groups");
    create(&operator, &groups).await?;
    let is_bad_event_refused = repair::is_bad_event_refused(&operator).await?;
    let stop = CancellationToken::new();
    let mut members = join(stage, &groups, &crew, &stop).await?;
    board.tell(who_is_where(&operator).await?);
    board.step("publishing while all groups follow");
    let (published, repaired) = tokio::select! {
        ran = run(stage, catalogue, rate, board, (&groups, &crew, &operator)) => ran?,
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
    for name in names() {
        lag.push((name, behind(&operator, name).await?));
    }
    let [statistics, strong] = groups;
    Ok(Verdict { published, statistics, strong, crew, repaired, is_bad_event_refused, lag })
}

/// Events that a group is behind, waits to try again, or has given up on.
async fn behind(operator: &Client, name: &str) -> Result<i64> {
    let Lag { events, retries, dead_letters, .. } = operator.groups().lag(name).await?;
    Ok(events + retries + dead_letters)
}

async fn create(operator: &Client, groups: &[Group; 2]) -> Result<()> {
    let spec = StreamSpec::default().partitions(PARTITIONS).schema_enforcement(SchemaEnforcement::Reject);
    operator.streams().create(STREAM, spec).await?;
    operator.schemas().register(STREAM, "", quake::SCHEMA).await?;
    for group in groups {
        operator.groups().create(group.name, STREAM, Position::Earliest, GroupSpec::default()).await?;
    }
    let retry = RetryPolicy { initial: BACKOFF, max_attempts: ATTEMPTS, ..RetryPolicy::default() };
    let spec = GroupSpec::default().mode(DeliveryMode::Shared).retry(retry);
    operator.groups().create(CREW, STREAM, Position::Earliest, spec).await?;
    Ok(())
}

fn names() -> [&'static str; 3] {
    ["statistics", "strong-quakes", CREW]
}

/// Publishes everything, sees to what failed, and waits until all groups have seen everything.
async fn run(
    stage: &mut Stage,
    catalogue: &Catalogue,
    rate: f64,
    board: &Board,
    (groups, crew, operator): (&[Group; 2], &Crew, &Client),
) -> Result<(Published, Repaired)> {
    let client = stage.client(Preferred::First, "demo-producer")?;
    let producer = client.producer(STREAM).build().await?;
    let published = publish::publish(producer, catalogue, rate, stage, board).await?;
    let repaired = repair::repair(operator, crew, catalogue.failing().1, board).await?;
    board.step("waiting until all groups have seen everything");
    let [one, other] = groups;
    let complete = async {
        tokio::join!(one.complete(), other.complete(), crew.handled(catalogue.len()));
        // What was handled while the broker died comes again, when its claims are over, unless its acknowledgement was written.
        // poll
        while behind(operator, crew.name).await? > 0 {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), Failure>(())
    };
    match tokio::time::timeout(LONGEST_WAIT, complete).await {
        Ok(done) => done?,
        // The verdict says what is missing.
        Err(_) => board.tell(format!("{} s later, events are still missing", LONGEST_WAIT.as_secs())),
    }
    Ok((published, repaired))
}

async fn join(
    stage: &Stage,
    groups: &[Group; 2],
    crew: &Crew,
    stop: &CancellationToken,
) -> Result<JoinSet<Result<()>>> {
    let mut members = JoinSet::new();
    for (name, preferred) in WORKERS {
        let worker = stage.client(preferred, "demo")?.worker(crew.name).member_name(name).build().await?;
        members.spawn(crew.clone().work(worker, stop.clone()));
    }
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

async fn who_is_where(operator: &Client) -> Result<String> {
    let mut places = Vec::new();
    for name in names() {
        for member in operator.groups().members(name).await? {
            places.push(format!("{} on {}", member.name, member.broker));
        }
    }
    Ok(places.join(", "))
}
