use super::*;
use crate::domain::ids::{PartitionId, StreamId};
use crate::domain::stream::{Retention, stream_not_found};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const ORGANIZATION: OrganizationId = OrganizationId(1);

fn name(text: &str) -> StreamName {
    StreamName::parse("name", text).expect("a name")
}

fn stream(text: &str) -> Arc<Stream> {
    Arc::new(Stream {
        id: StreamId(1),
        organization: ORGANIZATION,
        uid: uuid::Uuid::nil(),
        name: name(text),
        description: String::new(),
        partitions: vec![PartitionId(1)],
        retention: Retention { max_age_us: 0, max_bytes: 0 },
        max_event_bytes: 1,
        labels: BTreeMap::new(),
        routing_version: 1,
        schema_policy: crate::domain::schema::Policy::default(),
        schema_revision: 0,
        key_retention_us: 0,
        track_keys: false,
        created_at: 0,
        updated_at: 0,
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_loaded_once_in_its_lifetime() {
    let cache = StreamCache::new(Duration::from_secs(5), 10);
    let loads = AtomicUsize::new(0);
    let load = async || {
        loads.fetch_add(1, Ordering::Relaxed);
        Ok(stream("orders"))
    };
    for _ in 0..3 {
        cache.get(ORGANIZATION, &name("orders"), load()).await.expect("loaded");
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    cache.get(ORGANIZATION, &name("orders"), load()).await.expect("loaded again");
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    cache.forget(ORGANIZATION, &name("orders"));
    cache.get(ORGANIZATION, &name("orders"), load()).await.expect("loaded again");
    assert_eq!(loads.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn callers_who_miss_together_share_one_load() {
    let cache = StreamCache::new(Duration::from_secs(5), 10);
    let loads = AtomicUsize::new(0);
    let load = async || {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(stream("orders"))
    };
    let orders = name("orders");
    let (first, second) =
        tokio::join!(cache.get(ORGANIZATION, &orders, load()), cache.get(ORGANIZATION, &orders, load()));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_missing_is_asked_for_again() {
    let cache = StreamCache::new(Duration::from_secs(5), 10);
    let missing = async { Err(stream_not_found("orders")) };
    assert!(cache.get(ORGANIZATION, &name("orders"), missing).await.is_err());
    let found = cache.get(ORGANIZATION, &name("orders"), async { Ok(stream("orders")) }).await;
    assert!(found.is_ok());
}

#[tokio::test]
async fn organizations_do_not_meet_and_memory_is_bounded() {
    let cache = StreamCache::new(Duration::from_secs(5), 10);
    for number in 0..100 {
        let organization = OrganizationId(number);
        cache.get(organization, &name("orders"), async { Ok(stream("orders")) }).await.expect("loaded");
        assert!(cache.lock().len() <= 10);
    }
    let missing = cache.get(OrganizationId(1_000), &name("orders"), async { Err(stream_not_found("orders")) }).await;
    assert!(missing.is_err(), "another organization's stream is not there");
}
