//! The primary dies, a standby takes over, the log goes on in another epoch.

use super::load::Load;
use super::log_at;
use crate::support::member::Member;
use crate::support::{Clients, Ground, appended, broker_at, reason, refused, sequenced};
use eventflow_proto::v1::{self, position::At, subscribe_response::Frame};
use eventflow_testkit::{Connection, Direction, OwnCluster, Stop, TcpProxy};
use std::collections::HashSet;
use tokio_postgres::{Client, NoTls};
use tokio_stream::StreamExt;
use tonic::Status;
use uuid::Uuid;

/// The first offset of the first epoch after a failover.
const EPOCH_1: i64 = 1 << 40;

/// What a broker is told that shall follow a failover by itself: both hosts, and that it wants the one that takes writes.
fn either(one: &OwnCluster, other: &OwnCluster, database: &str) -> String {
    let host = format!("{},{}", one.connection().host, other.connection().host);
    let both = Connection { host, ..one.connection().clone() }.with_database(database);
    format!("{} target_session_attrs=read-write", both.keywords())
}

/// A superuser session in the same database of another cluster.
async fn session_on(cluster: &OwnCluster, database: &str) -> Client {
    let url = cluster.connection().clone().with_database(database).url();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a session");
    #[expect(clippy::disallowed_methods, reason = "the driver ends with the client")]
    tokio::spawn(connection);
    client
}

async fn repositioned(member: &mut Member) -> v1::AssignedPartition {
    let moved = |_: &Member, frame: &Frame| match frame {
        Frame::Repositioned(moved) => moved.partition,
        _ => None,
    };
    member.until(moved).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_takes_over_under_load_and_nothing_acknowledged_is_lost() {
    let primary = OwnCluster::new().await;
    let ground = Ground { database: primary.database().await };
    let key = ground.key("acme").await;
    let standby = primary.standby().await;
    primary.wait_for_standbys().await;
    let url = either(&primary, &standby, ground.database.name());
    let app = broker_at(&url, &[("database.allow_unsafe_durability", "false")]).await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.until_held(1).await;
    let load = Load::new(&app, &key).await;

    let failover = async {
        load.acknowledged(100).await;
        primary.stop(Stop::Kill).await;
        standby.promote().await;
    };
    let events = 400;
    let (acknowledged, ()) = tokio::join!(load.run(events), failover);

    let log = log_at(&session_on(&standby, ground.database.name()).await, "orders").await;
    let texts: Vec<String> = log.iter().map(|(_, text)| text.clone()).collect();
    let expected: Vec<String> = (0..events).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected, "each once and in order");
    assert_eq!(acknowledged, log, "where the acknowledgements said");
    assert!(log.is_sorted_by_key(|(offset, _)| offset), "no offset twice");
    let before = log.iter().filter(|(offset, _)| *offset < EPOCH_1).count();
    assert!((100..events).contains(&before), "{before} events before the failover");
    assert_eq!(log[before].0, EPOCH_1, "another life of the log");
    assert_eq!(repositioned(&mut member).await.log_epoch, 1);
    let seen: HashSet<i64> = member.texts(events).await.into_iter().map(|(_, offset, _)| offset).collect();
    assert_eq!(seen, log.iter().map(|(offset, _)| *offset).collect(), "nothing was lost to the member");
    // Between the two lives there is nothing to go on from: progress that is asked to stand there stands where the first one ended.
    let (gap, first_end) = (EPOCH_1 - 7, log[before - 1].0 + 1);
    assert_eq!(member.commit(0, gap).await.committed_offset, Some(first_end));
    let to = Some(v1::Position { at: Some(At::Offset(gap)) });
    let request = v1::SeekRequest { name: "billing".into(), partition: Some(0), to, ..Default::default() };
    let sought = clients.groups.seek(request).await.expect("sought").into_inner();
    assert_eq!(sought.partitions[0].next_offset, first_end);
    assert_eq!(repositioned(&mut member).await.next_offset, first_end);
    assert_eq!(member.texts(events - before).await[0].1, EPOCH_1, "and it goes on behind the gap");
    let end = log[events - 1].0 + 1;
    assert_eq!(member.commit(0, end).await.committed_offset, Some(end));
    for name in ["billing", "application"] {
        let lag = clients.groups.get_lag(v1::GetLagRequest { name: name.into() }).await.expect("a lag").into_inner();
        assert_eq!(lag.lag_events, 0, "{name}");
    }
}

/// Reads on from an offset: texts with offsets, until there are so many or the stream ends.
async fn read(clients: &Clients, from: i64, count: usize) -> (Vec<(i64, String)>, tonic::Streaming<v1::ReadResponse>) {
    let from = Some(v1::Position { at: Some(At::Offset(from)) });
    let request =
        v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow: true, from, ..Default::default() };
    let mut frames = clients.log.clone().read(request).await.expect("a read").into_inner();
    let mut seen = Vec::new();
    while seen.len() < count {
        let frame = frames.next().await.expect("a frame").expect("a frame");
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
            seen.extend((batch.head.base_offset..).zip(batch.head.events.iter().map(crate::support::text)));
        }
    }
    (seen, frames)
}

/// How a stream of frames ends.
async fn end_of(mut frames: tonic::Streaming<v1::ReadResponse>) -> Status {
    loop {
        let next = eventflow_testkit::within("the end of a read", frames.next()).await;
        if let Err(status) = next.expect("an error before the end") {
            return status;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_standby_that_was_behind_has_lost_is_told_and_no_offset_is_used_again() {
    let primary = OwnCluster::new().await;
    let ground = Ground { database: primary.database().await };
    let key = ground.key("acme").await;
    let proxy = TcpProxy::start(primary.upstream());
    let standby = primary.standby_through(proxy.address()).await;
    let app = broker_at(&either(&primary, &standby, ground.database.name()), &[]).await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    clients.create_group("audit", "orders").await;
    clients.create_group("late", "orders").await;
    let producer = Uuid::new_v4();
    let mut publisher = clients.publisher.clone();
    let mut publish = async |sequence, texts: &[&str]| {
        let request = sequenced("orders", producer, 0, sequence, texts);
        publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
    };
    publish(0, &["a", "b"]).await;
    let mut billing = Member::join(&clients, "billing", "one").await.expect("joined");
    let mut audit = Member::join(&clients, "audit", "two").await.expect("joined");
    billing.texts(2).await;
    assert_eq!(billing.commit(0, 2).await.committed_offset, Some(2));
    audit.texts(2).await;
    standby.catch_up_with(&primary).await;
    proxy.stall(Direction::Down);
    assert_eq!(appended(&publish(2, &["c", "d", "e"]).await).base_offset, 2, "acknowledged, and nowhere else");
    billing.texts(3).await;
    assert_eq!(billing.commit(0, 5).await.committed_offset, Some(5));
    audit.texts(3).await;
    let mut lost = Member::join(&clients, "late", "three").await.expect("joined");
    lost.texts(5).await;
    let (seen, beyond) = read(&clients, 0, 5).await;
    assert_eq!(seen.len(), 5);

    primary.stop(Stop::Kill).await;
    drop(proxy);
    standby.promote().await;
    assert_eq!(clients.publish("orders", 0, &["f"]).await, EPOCH_1);

    // The producer hears that its last acknowledged events are gone, and may send them again.
    let (why, facts) = refused(&publish(5, &["g"]).await);
    assert_eq!((why.as_str(), facts["expected_sequence"].as_str()), ("OUT_OF_SEQUENCE", "2"));
    assert_eq!(appended(&publish(2, &["c", "d", "e"]).await).base_offset, EPOCH_1 + 1);

    // Who had committed beyond what survived, and who had only been given it: both are told what is gone.
    for (member, committed) in [(&mut billing, 2), (&mut audit, 0)] {
        let moved = repositioned(member).await;
        assert_eq!((moved.log_epoch, moved.next_offset), (1, committed));
        if committed == 0 {
            assert_eq!(member.texts(2).await, [(0, 0, "a".into()), (0, 1, "b".into())]);
        }
        let gone = |_: &Member, frame: &Frame| match frame {
            Frame::Truncated(gone) => Some((gone.from_offset, gone.to_offset, gone.resumed)),
            Frame::Batch(batch) => panic!("told before anything else: {batch:?}"),
            _ => None,
        };
        assert_eq!(member.until(gone).await, (2, EPOCH_1, true));
        let texts: Vec<String> = member.texts(4).await.into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(texts, ["f", "c", "d", "e"]);
        assert_eq!(member.commit(0, EPOCH_1 + 4).await.committed_offset, Some(EPOCH_1 + 4));
    }
    comes_back(&clients, lost).await;
    let status = end_of(beyond).await;
    assert_eq!(reason(&status), "LOG_TRUNCATED");
    assert!(format!("{status:?}").contains("resume at offset 2"), "{status:?}");
    let (again, _) = read(&clients, 2, 4).await;
    assert_eq!(again[0], (EPOCH_1, "f".into()));
    pages_and_single_events_say_it_too(&mut clients).await;
}

/// Offset 4 was acknowledged, and is gone.
async fn pages_and_single_events_say_it_too(clients: &mut Clients) {
    let gone = || v1::GetEventRequest { stream: "orders".into(), offset: Some(4), ..Default::default() };
    let status = clients.log.get_event(gone()).await.expect_err("gone");
    assert_eq!(reason(&status), "LOG_TRUNCATED");
    let from = Some(v1::Position { at: Some(At::Offset(4)) });
    let list = v1::ListEventsRequest { stream: "orders".into(), from, ..Default::default() };
    let status = clients.log.list_events(list).await.expect_err("gone");
    assert_eq!(reason(&status), "LOG_TRUNCATED");
    assert!(format!("{status:?}").contains("resume at offset 2"), "{status:?}");
}

/// A session that the new primary has never heard of ends with a reason, and its member comes back.
async fn comes_back(clients: &Clients, mut lost: Member) {
    let status = loop {
        if let Err(status) = lost.next().await {
            break status;
        }
    };
    assert_eq!(reason(&status), "LOG_TRUNCATED");
    let mut back = Member::join(clients, "late", "three").await.expect("joined");
    assert_eq!(back.texts(6).await.last().map(|(_, offset, _)| *offset), Some(EPOCH_1 + 3));
}
