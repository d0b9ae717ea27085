//! A broker that stands still for longer than its lease, and then goes on as if nothing had been.

use crate::support::member::{Member, progress};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, reason, turn};
use eventflow_proto::v1::subscribe_response::Frame;
use eventflow_testkit::within;
use std::time::{Duration, Instant};
use tonic::Status;

/// `groups.lease_ttl_ms` as it is by default.
const LEASE_TTL: Duration = Duration::from_secs(5);

/// What the group has committed, by partition.
async fn committed(ground: &Ground) -> Vec<i64> {
    let client = ground.database.connect().await;
    let sql = "select next_offset from eventflow.consumer_offset order by partition_index";
    client.query(sql, &[]).await.expect("progress").iter().map(|row| row.get(0)).collect()
}

/// Everything that a member hears until its subscription ends: batches, and why it ended.
async fn last_words(member: &mut Member) -> (Vec<Frame>, Status) {
    let mut batches = Vec::new();
    loop {
        match member.next().await {
            Ok(frame @ Frame::Batch(_)) => batches.push(frame),
            Ok(_) => {}
            Err(status) => return (batches, status),
        }
    }
}

/// A rebalance to the newcomer's end: what goes is committed already.
async fn share(holder: &mut Member, newcomer: &mut Member, each: usize) {
    let ((), ()) = tokio::join!(holder.until_held(each), newcomer.until_held(each));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_paused_past_its_lease_delivers_nothing_more_and_its_late_commits_are_refused() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let paused = BrokerProcess::start(&ground.database.url(), &[]).await;
    let key = ground.key("acme").await;
    let (mut here, mut there) = (Clients::new(&app, &key).await, Clients::at(&paused.url(), &key).await);
    here.create_stream("orders", 4).await;
    here.create_group("billing", "orders").await;
    let mut late = Member::join(&there, "billing", "late").await.expect("joined");
    late.until_held(4).await;
    let mut other = Member::join(&here, "billing", "other").await.expect("joined");
    share(&mut late, &mut other, 2).await;
    for partition in 0..4 {
        here.publish("orders", partition, &["a", "b"]).await;
    }
    late.texts(4).await;
    other.texts(4).await;
    let leases: Vec<_> = late.held.values().copied().collect();
    for lease in &leases {
        assert_eq!(late.commit(lease.partition, 1).await.committed_offset, Some(1));
    }

    paused.pause();
    let since = Instant::now();
    for partition in 0..4 {
        here.publish("orders", partition, &["c"]).await;
    }
    // They lie in the socket until the broker goes on: it takes them for good, until it asks the database. The second one
    // repeats what is committed: that is not answered from memory either.
    for (lease, next_offset) in leases.iter().zip([2, 1]) {
        late.send(progress(*lease, next_offset)).await.expect("sent");
    }
    // Two of its own, and two of each partition that it takes over.
    let mut seen = other.texts(6).await;
    assert!(since.elapsed() < LEASE_TTL + Duration::from_secs(1), "{:?}", since.elapsed()); // bound: TTL + 1 s
    assert_eq!(other.held.len(), 4);
    seen.sort();
    let again =
        leases.iter().flat_map(|lease| [(lease.partition, 1, "b".to_owned()), (lease.partition, 2, "c".into())]);
    assert!(again.into_iter().all(|event| seen.contains(&event)), "from the last commit on: {seen:?}");
    for partition in 0..4 {
        assert_eq!(other.commit(partition, 3).await.committed_offset, Some(3));
    }

    // A publish that waits for the paused broker is a publish like any other once it goes on.
    let publish = there.publish("orders", 0, &["d"]);
    let ((), base_offset) = tokio::join!(async { paused.resume() }, publish);
    assert_eq!(base_offset, 3);
    let (batches, status) = last_words(&mut late).await;
    assert!(batches.is_empty(), "delivered without trust: {batches:?}");
    assert_eq!(reason(&status), "SESSION_EXPIRED");
    for _ in &leases {
        match late.answer().await {
            Ok(answer) => assert_eq!(crate::support::member::refusal(&answer.results[0]), "MEMBER_FENCED"),
            Err(status) => {
                assert_eq!(reason(&status), "SESSION_NOT_FOUND");
                break;
            }
        }
    }
    assert_eq!(committed(&ground).await, [3, 3, 3, 3]);

    goes_on_like_any_other(&mut there, &mut other).await;
}

/// The same process is a broker like any other again.
async fn goes_on_like_any_other(there: &mut Clients, other: &mut Member) {
    let back = async {
        loop {
            // poll: it may be finding out only now that its lease is over.
            match Member::join(there, "billing", "late").await {
                Ok(back) => return back,
                Err(status) => assert_eq!(reason(&status), "SESSION_EXPIRED"),
            }
        }
    };
    let mut back = within("a session", back).await;
    assert!(!back.session.reattached);
    other.texts(1).await;
    other.commit(0, 4).await;
    share(other, &mut back, 2).await;
    for partition in 0..4 {
        there.publish("orders", partition, &["e"]).await;
    }
    let (mut one, two) = (other.texts(2).await, back.texts(2).await);
    one.extend(two);
    assert!(one.iter().all(|(_, _, text)| text == "e"), "{one:?}");
}
