//! A broker that is killed at a step of the append, and the client's retry through another one: one copy, the right offsets.
//!
//! The proxy in front of Postgres holds the killed broker's call at a message boundary, so the kill lands exactly there. What it
//! held either never arrives, or it arrives late, when the retry is under way or over.

use super::log_of;
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, appended, sequenced};
use eventflow_proto::v1;
use eventflow_testkit::{Action, Match, PgProxy, Step, Upstream, within};
use tokio_postgres::Client;
use tonic::Code;
use uuid::Uuid;

/// What becomes of the held call when its broker is dead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Its connection ends with the broker.
    Never,
    /// It reaches Postgres while the retry runs.
    DuringTheRetry,
    /// It reaches Postgres when the retry has been answered.
    AfterTheRetry,
}

/// Backends of lanes, by process id.
async fn lanes(client: &Client) -> Vec<i32> {
    let sql = "select pid from pg_stat_activity where datname = current_database() and application_name like '%lane%'";
    client.query(sql, &[]).await.expect("backends").iter().map(|row| row.get(0)).collect()
}

/// Returns when none of these backends is left: what they were sent has run.
async fn gone(client: &Client, backends: &[i32]) {
    within("the killed broker's backends to end", async {
        while lanes(client).await.iter().any(|pid| backends.contains(pid)) {
            tokio::task::yield_now().await; // poll
        }
    })
    .await;
}

/// Kills the broker that makes the second append at `step`; `first` says whose copy is in the log.
async fn killed_at(step: Step, held: Held, first: First) {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let mut doomed = BrokerProcess::start(&ground.database.through(proxy.address()).url(), &[]).await;
    let key = ground.key("acme").await;
    let mut through_doomed = Clients::at(&doomed.url(), &key).await;
    through_doomed.create_stream("orders", 1).await;
    let producer = Uuid::new_v4();
    let answer =
        through_doomed.publisher.publish(sequenced("orders", producer, 0, 0, &["a"])).await.expect("published");
    assert_eq!(appended(&answer.get_ref().results[0]).base_offset, 0);
    // Before the other broker comes, whose lanes connect when it starts.
    let watcher = ground.database.connect().await;
    let backends = lanes(&watcher).await;
    let app = ground.broker(&[]).await;
    let mut through_other = Clients::new(&app, &key).await;

    let rule = proxy.on(Match::sql_contains("append_v1"), step, Action::Hold);
    let request = || sequenced("orders", producer, 0, 1, &["b", "c"]);
    let kill = async {
        rule.fired().await;
        doomed.kill().await;
    };
    let (lost, ()) = tokio::join!(through_doomed.publisher.publish(request()), kill);
    match lost {
        Err(status) => {
            assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{status:?}")
        }
        // Only where the broker may have had the answer before it died: nothing held that back.
        Ok(answer) => {
            assert!(matches!(step, Step::AfterForward | Step::AfterReply));
            assert_eq!(appended(&answer.get_ref().results[0]).base_offset, 1);
        }
    }
    if held == Held::Never {
        proxy.cut_all();
    }
    let retry = through_other.publisher.publish(request());
    let late = async {
        if held == Held::DuringTheRetry {
            rule.release();
        }
    };
    let (retried, ()) = tokio::join!(retry, late);
    rule.release();
    gone(&watcher, &backends).await;
    let retried = appended(&retried.expect("answered").get_ref().results[0]);
    assert_eq!((retried.base_offset, retried.event_count), (1, 2));
    match first {
        First::KilledBroker => assert!(retried.duplicate),
        First::Retry => assert!(!retried.duplicate),
        First::Either => {}
    }
    let next: v1::Appended = {
        let answer = through_other.publisher.publish(sequenced("orders", producer, 0, 3, &["d"])).await;
        appended(&answer.expect("published").get_ref().results[0])
    };
    assert_eq!(next.base_offset, 3);
    let log = log_of(&ground.database, "orders").await;
    assert_eq!(log, [(0, "a".into()), (1, "b".into()), (2, "c".into()), (3, "d".into())]);
}

/// Whose append is in the log: the other one found it there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    KilledBroker,
    Retry,
    Either,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_append_was_sent() {
    killed_at(Step::BeforeForward, Held::Never, First::Retry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_append_was_sent_and_it_arrives_during_the_retry() {
    killed_at(Step::BeforeForward, Held::DuringTheRetry, First::Either).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_append_was_sent_and_it_arrives_after_the_retry() {
    killed_at(Step::BeforeForward, Held::AfterTheRetry, First::Retry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_append_holds_its_lock_without_a_commit() {
    killed_at(Step::BeforeSync, Held::Never, First::Retry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_append_holds_its_lock_and_the_commit_arrives_during_the_retry() {
    killed_at(Step::BeforeSync, Held::DuringTheRetry, First::KilledBroker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_all_of_the_append_was_sent() {
    killed_at(Step::AfterForward, Held::Never, First::Either).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_append_was_committed_and_not_yet_answered() {
    killed_at(Step::BeforeReply, Held::Never, First::KilledBroker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_broker_had_its_answer() {
    killed_at(Step::AfterReply, Held::Never, First::KilledBroker).await;
}
