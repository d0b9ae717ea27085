//! What breaks between the broker and Postgres, and what must hold all the same: one copy, the right offsets, nothing lost.

mod away;
mod churn;
mod disk_full;
mod failover;
mod identical;
mod killed;
mod load;
mod neighbours;
mod paused;
mod redis;
mod silent;

use crate::support::{Clients, Ground, appended, broker_at, event, sequenced, text};
use eventflow_proto::v1;
use eventflow_testkit::{Action, Database, Match, OwnCluster, PgProxy, Step, Stop, Upstream};
use tokio_stream::StreamExt;
use uuid::Uuid;

/// Everything of a partition, by SQL: the log itself, not what a broker remembers.
pub async fn log_of(database: &Database, stream: &str) -> Vec<(i64, String)> {
    log_at(&database.connect().await, stream).await
}

async fn log_at(client: &tokio_postgres::Client, stream: &str) -> Vec<(i64, String)> {
    let sql = "select event_offset, convert_from(payload, 'UTF8') from eventflow.event where stream = $1 order by 1";
    client.query(sql, &[&stream]).await.expect("the view").iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A connection that breaks at `step` of the second append: the broker's own retry must be decisive.
async fn broken_append(step: Step) {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let app = broker_at(&ground.database.through(proxy.address()).url(), &[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    let producer = Uuid::new_v4();
    let first = clients.publisher.publish(sequenced("orders", producer, 0, 0, &["a"])).await.expect("published");
    assert_eq!(appended(&first.into_inner().results[0]).base_offset, 0);

    let rule = proxy.on(Match::sql_contains("append_v1").nth(1), step, Action::Cut);
    let second = clients.publisher.publish(sequenced("orders", producer, 0, 1, &["b", "c"])).await.expect("answered");
    rule.fired().await;
    assert_eq!(appended(&second.into_inner().results[0]).base_offset, 1);
    // The same for events that carry no producer: they travel under the lane's own.
    let rule = proxy.on(Match::sql_contains("append_v1").nth(1), step, Action::Cut);
    assert_eq!(clients.publish("orders", 0, &["d"]).await, 3);
    rule.fired().await;

    let log = log_of(&ground.database, "orders").await;
    assert_eq!(log, [(0, "a".into()), (1, "b".into()), (2, "c".into()), (3, "d".into())]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_never_reached_the_server_is_made_once() {
    broken_append(Step::BeforeForward).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_commit_was_never_asked_for_is_made_once() {
    broken_append(Step::BeforeSync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_broke_while_it_ran_is_made_once() {
    broken_append(Step::AfterForward).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_was_lost_is_made_once() {
    broken_append(Step::BeforeReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_with_the_same_sequence_append_it_once() {
    let ground = Ground::new().await;
    let (one, two) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let key = ground.key("acme").await;
    let (mut first, second) = (Clients::new(&one, &key).await, Clients::new(&two, &key).await);
    first.create_stream("orders", 1).await;
    let producer = Uuid::new_v4();
    let rounds = 10_000;
    for round in 0..rounds {
        let request = || sequenced("orders", producer, 0, round, &["x"]);
        let (mut here, mut there) = (first.publisher.clone(), second.publisher.clone());
        let (a, b) = tokio::join!(here.publish(request()), there.publish(request()));
        let (a, b) = (a.expect("answered").into_inner(), b.expect("answered").into_inner());
        let (a, b) = (appended(&a.results[0]), appended(&b.results[0]));
        assert_eq!((a.base_offset, b.base_offset), (round, round));
        assert!(a.duplicate != b.duplicate, "exactly one of the two is the first in round {round}");
    }
    let client = ground.database.connect().await;
    let count: i64 = client.query_one("select count(*) from eventflow.event", &[]).await.expect("a count").get(0);
    assert_eq!(count, rounds);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_restart_under_load_and_nothing_acknowledged_is_lost() {
    let cluster = OwnCluster::new().await;
    let database = cluster.database().await;
    let ground = Ground { database };
    let app = ground.broker(&[("database.allow_unsafe_durability", "false")]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    let producer = Uuid::new_v4();
    let mut publish = clients.clone();
    let load = async {
        for sequence in 0..400i64 {
            loop {
                let request = sequenced("orders", producer, 0, sequence, &[&sequence.to_string()]);
                match publish.publisher.publish(request).await {
                    Ok(answer) => match &answer.get_ref().results[0].outcome {
                        Some(v1::partition_result::Outcome::Appended(appended)) => {
                            assert_eq!(appended.base_offset, sequence);
                            break;
                        }
                        // Refused or unknown while the database is away: the same sequence again.
                        _ => continue,
                    },
                    Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
                }
            }
        }
    };
    let faults = async {
        for how in [Stop::Fast, Stop::Immediate] {
            cluster.restart(how).await;
        }
        cluster.terminate_backends("application_name like 'eventflow%'").await;
    };
    tokio::join!(load, faults);
    let log = log_of(&ground.database, "orders").await;
    let expected: Vec<(i64, String)> = (0..400).map(|n| (n, n.to_string())).collect();
    assert_eq!(log, expected);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_log_epoch_never_uses_an_offset_again() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    assert_eq!(clients.publish("orders", 0, &["a", "b"]).await, 0);
    let mut member = crate::support::member::Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(2).await;
    member.commit(0, 1).await;
    let old = member.held[&0];

    let client = ground.database.connect().await;
    client.batch_execute("select eventflow.check_log_epoch_v1(true)").await.expect("raised");
    let epoch_1 = 1i64 << 40;
    assert_eq!(clients.publish("orders", 0, &["c"]).await, epoch_1);
    let moved = member
        .until(|_, frame| match frame {
            v1::subscribe_response::Frame::Repositioned(moved) => moved.partition,
            _ => None,
        })
        .await;
    assert_eq!((moved.log_epoch, moved.next_offset), (1, 1));
    assert!(member.commit_under(old, 2).await.error.is_some(), "the old life cannot commit");
    assert_eq!(member.texts(2).await, [(0, 1, "b".into()), (0, epoch_1, "c".into())]);
    assert_eq!(member.commit(0, epoch_1 + 1).await.committed_offset, Some(epoch_1 + 1));
    let lag = clients.groups.get_lag(v1::GetLagRequest { name: "billing".into() }).await.expect("a lag").into_inner();
    assert_eq!(lag.lag_events, 0, "counted, not subtracted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_leaves_no_transaction_open() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    for round in 0..50u32 {
        let mut publisher = clients.publisher.clone();
        let request = v1::PublishRequest { stream: "orders".into(), events: vec![event("x")], ..Default::default() };
        let call = publisher.publish(request);
        let cut = std::time::Duration::from_micros(u64::from(round) * 40);
        // Whether it came through or was cut: both are fine.
        let _ = tokio::time::timeout(cut, call).await;
    }
    clients.publish("orders", 0, &["last"]).await;
    let client = ground.database.connect().await;
    let sql = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
    let open: i64 = client.query_one(sql, &[]).await.expect("a count").get(0);
    assert_eq!(open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_and_reclaimed_offsets_are_never_used_again() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let purge = v1::PurgeStreamRequest {
        name: "orders".into(),
        before: Some(v1::purge_stream_request::Before::Everything(true)),
        ..Default::default()
    };
    assert_eq!(clients.streams.purge_stream(purge).await.expect("purged").into_inner().purged_events, 3);
    eventflow_broker::jobs::Job::Retention.tick(app.store()).await.expect("reclaimed");
    let client = ground.database.connect().await;
    let rows: i64 = client.query_one("select count(*) from eventflow.event_batch", &[]).await.expect("a count").get(0);
    assert_eq!(rows, 0, "the newest batch is gone too");
    assert_eq!(clients.publish("orders", 0, &["d"]).await, 3);
    let name = "orders".to_owned();
    let statistics = clients.streams.get_stream_statistics(v1::GetStreamStatisticsRequest { name }).await;
    let statistics = statistics.expect("statistics").into_inner();
    assert_eq!((statistics.events, statistics.partitions[0].floor, statistics.partitions[0].head), (1, 3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_reported_and_never_skipped() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.publish("orders", 0, &["a"]).await;
    clients.publish("orders", 0, &["b"]).await;
    clients.publish("orders", 0, &["c"]).await;
    let client = ground.database.connect().await;
    let read = |clients: &Clients| {
        let mut log = clients.log.clone();
        async move {
            let request = v1::ReadRequest { stream: "orders".into(), partition: Some(0), ..Default::default() };
            let mut frames = log.read(request).await.expect("a read").into_inner();
            loop {
                match frames.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return Some(status.code()),
                    None => return None,
                }
            }
        }
    };
    assert_eq!(read(&clients).await, None);
    let damage = "update eventflow.event_batch set payloads = array['\\x78'::bytea] where base_offset = 1";
    client.batch_execute(damage).await.expect("damaged");
    assert_eq!(read(&clients).await, Some(tonic::Code::DataLoss));
    client.batch_execute("delete from eventflow.event_batch where base_offset = 1").await.expect("removed");
    assert_eq!(read(&clients).await, Some(tonic::Code::DataLoss));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hints_the_poll_brings_events_and_the_hand_over_loses_nothing() {
    let ground = Ground::new().await;
    let settings = [("delivery.hints", "false")];
    let (one, two) = (ground.broker(&settings).await, ground.broker(&settings).await);
    let key = ground.key("acme").await;
    let (mut writer, mut reader) = (Clients::new(&one, &key).await, Clients::new(&two, &key).await);
    writer.create_stream("orders", 1).await;
    for n in 0..50 {
        writer.publish("orders", 0, &[&n.to_string()]).await;
    }
    // The reader catches up while the writer goes on.
    let request = v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow: true, ..Default::default() };
    let mut frames = reader.log.read(request).await.expect("a read").into_inner();
    let write = async {
        for n in 50..200 {
            writer.publish("orders", 0, &[&n.to_string()]).await;
        }
    };
    let read = async {
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < 200 {
            let frame = frames.next().await.expect("a frame").expect("a frame");
            if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
                assert_eq!(batch.head.base_offset, seen.len() as i64, "no gap and no duplicate");
                seen.extend(batch.head.events.iter().map(text));
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(write, read);
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_slows_nobody_down() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    let follow = v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow: true, ..Default::default() };
    let lazy_clients = Clients::new(&app, &key).await;
    let _lazy = lazy_clients.log.clone().read(follow.clone()).await.expect("a read");
    let mut healthy = Vec::new();
    for _ in 0..10 {
        let own = Clients::new(&app, &key).await;
        healthy.push((own.log.clone().read(follow.clone()).await.expect("a read").into_inner(), own));
    }
    let payload = "x".repeat(100_000);
    let rounds = 100;
    let write = async {
        for _ in 0..rounds {
            clients.publish("orders", 0, &[&payload]).await;
        }
    };
    let read = async {
        for (frames, _) in &mut healthy {
            let mut seen = 0;
            while seen < rounds {
                let frame = frames.next().await.expect("a frame").expect("a frame");
                if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
                    seen += batch.head.events.len();
                }
            }
        }
    };
    tokio::join!(write, read);
    assert!(app.store().conn().await.is_ok());
}
