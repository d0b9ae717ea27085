//! The Postgres proxy: each step of a request, and what the server and the client know when it fails there.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and spawn")]

use std::time::Duration;

use eventflow_testkit::{Action, Database, Match, PgProxy, Step, Upstream, within};
use tokio_postgres::{Client, NoTls};

/// A table `kept`, its database, and a proxy before it.
async fn proxied() -> (Database, PgProxy, Client) {
    let database = Database::empty().await;
    let create = "create table kept (n int)";
    database.connect().await.batch_execute(create).await.unwrap();
    let proxy = PgProxy::start(Upstream::postgres(database.connection()));
    let client = client(&database, &proxy).await;
    (database, proxy, client)
}

async fn client(database: &Database, proxy: &PgProxy) -> Client {
    let url = database.through(proxy.address()).url();
    let (client, driver) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

async fn kept(database: &Database) -> i64 {
    let client = database.connect().await;
    let row = client.query_one("select count(*) from kept", &[]).await;
    row.unwrap().get(0)
}

const INSERT: &str = "insert into kept values (1)";

/// The n-th execution of a prepared insert fails at `step`: how many rows are there, and did the client know?
async fn cut_at(step: Step, action: Action) -> (bool, i64) {
    let (database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::sql_contains("INTO KEPT").nth(2), step, action);
    let insert = client.prepare(INSERT).await.unwrap();
    client.execute(&insert, &[]).await.unwrap();
    assert_eq!(rule.times(), 0);
    let known = client.execute(&insert, &[]).await.is_ok();
    rule.fired().await;
    // The server's session ends when it has done what it was sent.
    proxy.wait_for(|counts| counts.open == 0).await;
    (known, kept(&database).await - 1)
}

#[tokio::test]
async fn a_cut_before_the_request_leaves_nothing() {
    assert_eq!(cut_at(Step::BeforeForward, Action::Cut).await, (false, 0));
}

#[tokio::test]
async fn a_cut_before_sync_runs_and_never_commits() {
    assert_eq!(cut_at(Step::BeforeSync, Action::Cut).await, (false, 0));
}

#[tokio::test]
async fn a_cut_after_the_request_commits_unknown_to_the_client() {
    assert_eq!(cut_at(Step::AfterForward, Action::Cut).await, (false, 1));
}

#[tokio::test]
async fn a_lost_reply_hides_a_commit() {
    assert_eq!(cut_at(Step::BeforeReply, Action::Cut).await, (false, 1));
    assert_eq!(cut_at(Step::BeforeReply, Action::Reset).await, (false, 1));
}

#[tokio::test]
async fn a_cut_after_the_reply_is_known_to_the_client() {
    assert_eq!(cut_at(Step::AfterReply, Action::Cut).await, (true, 1));
}

#[tokio::test]
async fn a_lost_reply_to_commit_hides_the_commit() {
    let (database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::sql_contains("commit"), Step::BeforeReply, Action::Cut);
    client.batch_execute("begin").await.unwrap();
    client.execute(INSERT, &[]).await.unwrap();
    assert!(client.batch_execute("commit").await.is_err());
    rule.fired().await;
    assert_eq!(kept(&database).await, 1);
}

#[tokio::test]
async fn a_held_reply_arrives_when_it_is_released() {
    let (database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::sql_contains("into kept"), Step::BeforeReply, Action::Hold);
    let insert = tokio::spawn(async move { client.execute(INSERT, &[]).await });
    rule.fired().await;
    assert_eq!(kept(&database).await, 1);
    assert!(!insert.is_finished());
    rule.release();
    assert_eq!(within("the reply", insert).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_held_request_has_not_run() {
    let (database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::any(), Step::BeforeForward, Action::Hold);
    let insert = tokio::spawn(async move { client.batch_execute(INSERT).await });
    rule.fired().await;
    assert_eq!(kept(&database).await, 0);
    rule.release();
    within("the request", insert).await.unwrap().unwrap();
    assert_eq!(kept(&database).await, 1);
}

#[tokio::test]
async fn rules_count_and_delay_without_harm_in_a_pipeline() {
    let (database, proxy, client) = proxied().await;
    let seen = proxy.on(Match::sql_contains("into kept").every(), Step::AfterReply, Action::Pass);
    let short = Action::Delay(Duration::from_millis(1));
    proxy.on(Match::sql_contains("into kept").every(), Step::BeforeReply, short);
    let insert = client.prepare(INSERT).await.unwrap();
    let before = proxy.counts();
    let (one, two, three) =
        tokio::join!(client.execute(&insert, &[]), client.execute(&insert, &[]), client.query_one("select 42", &[]),);
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert_eq!(three.unwrap().get::<_, i32>(0), 42);
    seen.fired_times(2).await;
    assert_eq!(kept(&database).await, 2);
    assert_eq!(proxy.counts().executes - before.executes, 3);
}

#[tokio::test]
async fn copy_keeps_requests_and_answers_together() {
    let (database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::sql_contains("into kept"), Step::BeforeReply, Action::Cut);
    copy_in(&client, b"7\n8\n").await;
    assert_eq!(kept(&database).await, 2);
    assert!(client.execute(INSERT, &[]).await.is_err());
    rule.fired().await;
    assert_eq!(kept(&database).await, 3);
}

async fn copy_in(client: &Client, rows: &'static [u8]) {
    use futures_util::Sink;
    use std::future::poll_fn;
    use std::pin::pin;
    let sink = client.copy_in::<_, &[u8]>("copy kept from stdin").await.unwrap();
    let mut sink = pin!(sink);
    poll_fn(|context| sink.as_mut().poll_ready(context)).await.unwrap();
    sink.as_mut().start_send(rows).unwrap();
    sink.finish().await.unwrap();
}

#[tokio::test]
async fn a_cancellation_reaches_the_server() {
    let (_database, proxy, client) = proxied().await;
    let rule = proxy.on(Match::sql_contains("pg_sleep"), Step::AfterForward, Action::Pass);
    let token = client.cancel_token();
    let sleeping = tokio::spawn(async move { client.batch_execute("select pg_sleep(60)").await });
    rule.fired().await;
    // The server may not have begun: ask until it has heard.
    let cancelled = within("the cancellation", async {
        while !sleeping.is_finished() {
            token.cancel_query(NoTls).await.unwrap();
        }
        sleeping.await
    });
    assert!(cancelled.await.unwrap().is_err());
    assert!(proxy.counts().cancels >= 1);
}

#[tokio::test]
async fn all_sessions_can_be_cut_and_new_ones_pass() {
    let (database, proxy, old) = proxied().await;
    proxy.cut_all();
    proxy.wait_for(|counts| counts.open == 0).await;
    assert!(old.batch_execute("select 1").await.is_err());
    let new = client(&database, &proxy).await;
    new.batch_execute("select 1").await.unwrap();
}
