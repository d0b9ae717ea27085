//! Reasons that no other test provokes. `tidy` sees to it that each one stands in some test.

use crate::support::member::Member;
use crate::support::{Clients, Ground, appended, broker_at, event, reason, refused, sequenced};
use eventflow_broker::domain::{Error, Reason};
use eventflow_broker::jobs::Job;
use eventflow_broker::runtime::app::App;
use eventflow_broker::store::{DatabaseUrl, migrate};
use eventflow_proto::v1::{self, commit_request::Frame as Ask};
use eventflow_testkit::{Action, Database, Match, PgProxy, Step, Upstream, within};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use uuid::Uuid;

async fn spine(settings: &[(&str, &str)]) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(settings).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    (ground, app, clients)
}

fn request(events: Vec<v1::Event>) -> v1::PublishRequest {
    v1::PublishRequest { stream: "orders".into(), events, ..Default::default() }
}

fn subscribe(member: &str) -> v1::SubscribeRequest {
    v1::SubscribeRequest { group: "billing".into(), member_name: member.into(), ..Default::default() }
}

/// How a subscription ends.
async fn end(member: &mut Member) -> Status {
    loop {
        if let Err(status) = member.next().await {
            return status;
        }
    }
}

/// What a Commit stream for this session is told.
async fn attach(clients: &Clients, session_id: &str) -> Status {
    let frame = Some(Ask::Attach(v1::CommitAttach { session_id: session_id.into() }));
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    ask.send(v1::CommitRequest { frame_id: 0, frame }).await.expect("room");
    let mut answers = clients.consumer.clone().commit(ReceiverStream::new(asked)).await.expect("a stream").into_inner();
    within("an answer", answers.message()).await.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_a_limit_are_told_which() {
    let (_ground, _app, mut clients) = spine(&[]).await;
    let large = event(&"x".repeat(1024 * 1024 + 1));
    let status = clients.publisher.publish(request(vec![event("fine"), large])).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "EVENT_TOO_LARGE"));
    assert!(status.message().contains("`events[1]`"), "{}", status.message());
    let many = vec![v1::Event::default(); 10_001];
    let status = clients.publisher.publish(request(many)).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TOO_MANY_EVENTS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_beyond_what_is_remembered_cannot_be_told() {
    let (_ground, app, mut clients) = spine(&[]).await;
    let producer = Uuid::new_v4();
    let mut publish = async |sequence| {
        let request = sequenced("orders", producer, 0, sequence, &["x"]);
        clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
    };
    for sequence in 0..70 {
        appended(&publish(sequence).await);
    }
    Job::Prune.tick(app.store()).await.expect("pruned");
    assert_eq!(refused(&publish(5).await).0, "SEQUENCE_TOO_OLD");
    assert!(appended(&publish(6).await).duplicate, "the 64 newest runs are remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_is_refused_and_what_waits_goes_on() {
    let (ground, _app, mut clients) = spine(&[("publish.in_flight_bytes", "4194304")]).await;
    let mut lock = ground.database.connect().await;
    let lock = lock.transaction().await.expect("a transaction");
    lock.batch_execute("select 1 from eventflow.partition_head for update").await.expect("locked");
    let events = (0..4).map(|_| event(&"x".repeat(1_000_000))).collect();
    let mut publisher = clients.publisher.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { publisher.publish(request(events)).await });
    ground.until_an_append_waits().await;
    let half = request(vec![event(&"x".repeat(500_000))]);
    let refusal = within("a refusal", clients.publisher.publish(half)).await.expect("answered").into_inner();
    let refusal = &refusal.results[0];
    let (reason, facts) = refused(refusal);
    assert_eq!((reason.as_str(), facts["applied"].as_str()), ("PUBLISH_BACKLOG_FULL", "no"));
    lock.rollback().await.expect("unlocked");
    let answer = within("the one that waited", waiting.join_next()).await.expect("one").expect("no panic");
    let answer = answer.expect("answered").into_inner();
    assert_eq!(appended(&answer.results[0]).event_count, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_stream_that_reaches_the_wrong_place_is_told_where_to_go() {
    let (ground, _app, clients) = spine(&[]).await;
    let member = Member::subscribe(&clients, subscribe("one")).await.expect("joined");
    assert_eq!(reason(&attach(&clients, &Uuid::new_v4().to_string()).await), "SESSION_NOT_FOUND");
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let status = attach(&there, &member.session.session_id).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "SESSION_ELSEWHERE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_commit_stream_falls_silent_ends() {
    let times = [("delivery.heartbeat_ms", "100"), ("delivery.silence_limit_ms", "400")];
    let (_ground, _app, clients) = spine(&times).await;
    let mut member = Member::subscribe(&clients, subscribe("one")).await.expect("joined");
    member.release(Vec::new()).await;
    let status = end(&mut member).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SESSION_EXPIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_takes_so_many_members_and_no_more() {
    let (ground, _app, clients) = spine(&[]).await;
    let crowd = "insert into eventflow.group_member
            (group_id, member_name, organization_id, session_id, broker_id, client, client_address)
        select g.group_id, 'm' || n, g.organization_id, gen_random_uuid(), b.broker_id, '', ''
        from eventflow.group_state g, eventflow.broker b, generate_series(1, 1000) n";
    assert_eq!(ground.database.connect().await.execute(crowd, &[]).await.expect("a crowd"), 1_000);
    let status = Member::subscribe(&clients, subscribe("one more")).await.err().expect("refused");
    // The name is wrong as well, and that is told first.
    assert_eq!(reason(&status), "INVALID_ARGUMENT");
    let status = Member::subscribe(&clients, subscribe("one-more")).await.err().expect("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_MEMBERS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_beyond_the_head_is_told_that_the_log_was_cut() {
    let (ground, _app, mut clients) = spine(&[]).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let ahead = "update eventflow.consumer_offset set next_offset = 50";
    ground.database.connect().await.batch_execute(ahead).await.expect("moved");
    let mut member = Member::subscribe(&clients, subscribe("one")).await.expect("joined");
    let status = end(&mut member).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "LOG_TRUNCATED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_is_data_loss() {
    let (ground, _app, mut clients) = spine(&[]).await;
    clients.publish("orders", 0, &["a"]).await;
    let sql = ground.database.connect().await;
    let get = || v1::GetEventRequest { stream: "orders".into(), offset: Some(0), ..Default::default() };
    let publisher = clients.log.get_event(get()).await.expect("found").into_inner().event.expect("an event").publisher;
    // Whatever column it is.
    for damage in ["publishers = array['key:mallory']", "payloads = array['\\x78'::bytea]"] {
        let update = format!("update eventflow.event_batch set {damage}");
        sql.batch_execute(&update).await.expect("damaged");
        let status = clients.log.get_event(get()).await.expect_err("damaged");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DataLoss, "DATA_LOSS"), "{damage}");
        let repair = format!("update eventflow.event_batch set publishers = array['{publisher}']");
        sql.batch_execute(&repair).await.expect("repaired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_during_a_commit_leaves_the_outcome_unknown() {
    let (ground, _app, mut clients) = spine(&[]).await;
    let die = "create function public.die() returns trigger language plpgsql security definer as
            $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create constraint trigger die after insert on eventflow.stream deferrable initially deferred
            for each row execute function public.die()";
    ground.database.connect().await.batch_execute(die).await.expect("a trigger");
    let stream = v1::Stream { name: "payments".into(), ..Default::default() };
    let create = v1::CreateStreamRequest { stream: Some(stream), ..Default::default() };
    let status = clients.streams.create_stream(create).await.expect_err("gone");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_unavailable() {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let app = broker_at(&ground.database.through(proxy.address()).url(), &[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    let rule = proxy.on(Match::any().every(), Step::BeforeForward, Action::Cut);
    let get = v1::GetStreamRequest { name: "orders".into() };
    let status = clients.streams.get_stream(get).await.expect_err("away");
    rule.remove();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
}

/// Makes a function of the schema fail as Postgres itself would.
async fn failing(ground: &Ground, signature: &str, code: &str) {
    let sql = format!(
        "create or replace function eventflow.{signature} language plpgsql as \
         $$ begin raise exception 'as a test wants it' using errcode = '{code}'; end $$"
    );
    ground.database.connect().await.batch_execute(&sql).await.expect("replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_such() {
    let (ground, _app, mut clients) = spine(&[]).await;
    let signature = "append_v1(p_log_epoch bigint, p_wait boolean, p_runs eventflow.append_run_v1[], \
                     p_rows eventflow.append_row_v1[]) returns setof eventflow.append_verdict_v1";
    failing(&ground, signature, "53100").await;
    let answer = clients.publisher.publish(request(vec![event("x")])).await.expect("answered").into_inner();
    let (reason, facts) = refused(&answer.results[0]);
    assert_eq!((reason.as_str(), facts["applied"].as_str()), ("DISK_FULL", "no"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_is_lost_again_and_again_is_given_up() {
    let (ground, _app, mut clients) = spine(&[]).await;
    let signature = "create_partitions_v1(p_organization bigint, p_stream bigint, p_from integer, p_to integer) \
                     returns void";
    failing(&ground, signature, "40001").await;
    let stream = v1::Stream { name: "payments".into(), ..Default::default() };
    let create = v1::CreateStreamRequest { stream: Some(stream), ..Default::default() };
    let status = clients.streams.create_stream(create).await.expect_err("lost");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "CONCURRENT_CHANGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrating_user_without_rights_is_told_what_it_needs() {
    let database = Database::empty().await;
    let admin = database.connect().await;
    let user = format!("weak_{}", database.name());
    admin.batch_execute(&format!("create role {user} login password 'weak'")).await.expect("a role");
    let mut weak = database.connection().clone();
    (weak.user, weak.password) = (user.clone(), Some("weak".into()));
    let refusal = migrate::migrate(&DatabaseUrl::parse(&weak.url()).expect("a url")).await.expect_err("refused");
    admin.batch_execute(&format!("drop role {user}")).await.expect("dropped");
    assert_eq!(Error::reason(&refusal), Reason::PermissionDenied, "PERMISSION_DENIED, not {refusal:?}");
}
