//! Postgres away for longer than a lease lives.

use super::load::Load;
use crate::support::member::{Member, progress};
use crate::support::{Clients, Ground, turn};
use eventflow_proto::EventBatch;
use eventflow_proto::v1::{self, subscribe_response::Frame};
use eventflow_testkit::{OwnCluster, Stop, within};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Shorter than the database is away; long enough that a busy machine renews in time when it is back.
const LEASE_TTL: Duration = Duration::from_secs(8);
/// After so long without the database a commit is answered with "nobody knows"; docs/limits.md says so.
const COMMIT_BOUND: Duration = Duration::from_secs(10);

/// Takes frames until every partition of the member was delivered up to `head`; commits what is delivered.
async fn catch_up(member: &mut Member, heads: &BTreeMap<u32, i64>) {
    let mut places: BTreeMap<u32, i64> =
        member.held.values().map(|lease| (lease.partition, lease.next_offset)).collect();
    while places.iter().any(|(partition, next)| next < &heads[partition]) {
        match member.next().await.expect("the session goes on") {
            Frame::Batch(batch) => {
                let (partition, base, next) = (batch.head.partition, batch.head.base_offset, batch.head.next_offset);
                assert_eq!(places.insert(partition, next), Some(base), "in order and without a hole");
                assert_eq!(member.commit(partition, next).await.committed_offset, Some(next));
            }
            Frame::Heartbeat(_) => {}
            other => panic!("the leases stand: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_be_away_for_longer_than_a_lease_and_everybody_goes_on() {
    let _turn = turn().await;
    let cluster = OwnCluster::new().await;
    let ground = Ground { database: cluster.database().await };
    let lease_ttl = LEASE_TTL.as_millis().to_string();
    let settings = [("groups.lease_ttl_ms", lease_ttl.as_str())];
    let (one, two) = (ground.broker(&settings).await, ground.broker(&settings).await);
    let key = ground.key("acme").await;
    let (mut here, there) = (Clients::new(&one, &key).await, Clients::new(&two, &key).await);
    here.create_stream("orders", 4).await;
    here.create_group("billing", "orders").await;
    let mut members = [
        Member::join(&here, "billing", "here").await.expect("joined"),
        Member::join(&there, "billing", "there").await.expect("joined"),
    ];
    let [first, second] = &mut members;
    tokio::join!(first.until_held(2), second.until_held(2));
    let leases: Vec<Vec<v1::AssignedPartition>> =
        members.iter().map(|member| member.held.values().copied().collect()).collect();
    // Whose stream is open goes on. Opened without the database, once the key's check is some seconds old, it is refused.
    for member in &mut members {
        member.attach().await.expect("a Commit stream");
    }
    let load = Load::new(&one, &key).await;

    let outage = async {
        load.acknowledged(100).await;
        within("a delivery", first_batch(&mut members)).await;
        cluster.stop(Stop::Fast).await;
        let since = Instant::now();
        // The outcome of a commit is known in a stated time, also now. Its answer is the signal that the time is over.
        let mut asked = 0;
        for (member, leases) in members.iter_mut().zip(&leases) {
            for lease in leases {
                let next = delivered(member, lease.partition).await;
                if next > lease.next_offset {
                    asked += 1;
                    let sent = Instant::now();
                    member.send(progress(*lease, next)).await.expect("sent");
                    let result = member.answer().await.expect("the Commit stream goes on").results.remove(0);
                    // bound: 10 s, and 2 s for a busy machine
                    assert!(sent.elapsed() < COMMIT_BOUND + Duration::from_secs(2), "{:?}", sent.elapsed());
                    let error = result.error.expect("nobody knows");
                    assert_eq!(
                        (error.reason.as_str(), error.metadata["applied"].as_str()),
                        ("OUTCOME_UNKNOWN", "unknown")
                    );
                    assert!(error.retry_delay.is_some());
                }
            }
        }
        assert!(asked > 0, "of the partition that the load publishes to, one member has had events");
        let away = since.elapsed();
        assert!(away > LEASE_TTL, "{away:?}"); // bound: longer than a lease lives
        cluster.start().await;
    };
    let (acknowledged, ()) = tokio::join!(load.run(400), outage);
    assert_eq!(acknowledged.len(), 400);
    assert!(acknowledged.is_sorted_by_key(|(offset, _)| *offset));

    let heads = heads(&mut here).await;
    for (member, leases) in members.iter_mut().zip(&leases) {
        within("the member to catch up", catch_up(member, &heads)).await;
        assert_eq!(epochs(member.held.values()), epochs(leases), "the leases were kept");
    }
    for name in ["billing", "application"] {
        let lag = here.groups.get_lag(v1::GetLagRequest { name: name.into() }).await.expect("a lag").into_inner();
        assert_eq!(lag.lag_events, 0, "{name}");
    }
}

async fn heads(clients: &mut Clients) -> BTreeMap<u32, i64> {
    let statistics = v1::GetStreamStatisticsRequest { name: "orders".into() };
    let statistics = clients.streams.get_stream_statistics(statistics).await.expect("statistics").into_inner();
    statistics.partitions.iter().map(|partition| (partition.partition, partition.head)).collect()
}

fn epochs<'a>(leases: impl IntoIterator<Item = &'a v1::AssignedPartition>) -> Vec<(u32, u64)> {
    leases.into_iter().map(|lease| (lease.partition, lease.lease_epoch)).collect()
}

/// Up to where a partition was delivered: what lies in the member's stream is taken out until nothing comes for a moment.
async fn delivered(member: &mut Member, partition: u32) -> i64 {
    // Kept as the member's own place, for who looks next.
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), member.next()).await {
        if let Frame::Batch(batch) = frame.expect("the session goes on") {
            take(member, &batch.head);
        }
    }
    member.held[&partition].next_offset
}

/// Returns when one of the members has been delivered something: there is a commit to ask for when the database is away.
async fn first_batch(members: &mut [Member; 2]) {
    loop {
        let [first, second] = &mut *members;
        let (of, frame) = tokio::select! {
            frame = first.next() => (0, frame),
            frame = second.next() => (1, frame),
        };
        if let Frame::Batch(batch) = frame.expect("the session goes on") {
            return take(&mut members[of], &batch.head);
        }
    }
}

/// Moves the member's place behind the batch.
fn take(member: &mut Member, batch: &EventBatch) {
    let held = member.held.get_mut(&batch.partition).expect("held");
    assert_eq!(held.next_offset, batch.base_offset, "in order and without a hole");
    held.next_offset = batch.next_offset;
}
