//! Outcomes of single events: shared groups, retries, dead letters.

mod by_key;
mod delayed;
mod edited;
mod filtered;
mod killed;
mod letters;
mod ordered;
mod redrives;
mod retries;
mod shared;
mod workers;

use crate::support::{Clients, Ground};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use eventflow_testkit::within;

/// A group whose back-off is as short as it may be.
fn group(mode: v1::DeliveryMode, max_attempts: u32) -> v1::ConsumerGroup {
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 10_000_000 });
    v1::ConsumerGroup {
        name: "workers".into(),
        stream: "orders".into(),
        delivery_mode: mode.into(),
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: soon,
            multiplier: Some(1.0),
            max_backoff: soon,
            max_attempts: Some(max_attempts),
        }),
        ..Default::default()
    }
}

fn shared(max_attempts: u32) -> v1::ConsumerGroup {
    group(v1::DeliveryMode::Shared, max_attempts)
}

fn ordered(on_failure: v1::OnFailure, max_attempts: u32) -> v1::ConsumerGroup {
    v1::ConsumerGroup { on_failure: on_failure.into(), ..group(v1::DeliveryMode::Ordered, max_attempts) }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A stream `orders` and a group of it.
async fn stage(partitions: u32, group: v1::ConsumerGroup) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", partitions).await;
    clients.create_group_with(group).await;
    (ground, app, clients)
}

/// Dead letters: offset, attempts, reason, and how many attempts their history has.
async fn dead_letters(ground: &Ground) -> Vec<(i64, i32, String, i32)> {
    let sql = "select event_offset, attempts, reason, jsonb_array_length(history) from eventflow.dead_letter_event order by 1";
    let rows = ground.database.connect().await.query(sql, &[]).await.expect("dead letters");
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

async fn retry_rows(ground: &Ground) -> i64 {
    let client = ground.database.connect().await;
    client.query_one("select count(*) from eventflow.retry", &[]).await.expect("a count").get(0)
}

/// Until the group has nothing left to do.
async fn until_done(clients: &mut Clients) -> v1::GetLagResponse {
    within("a group without lag", async {
        loop {
            // poll
            let lag = clients.lag("workers").await;
            if lag.lag_events == 0 && lag.retry_events == 0 {
                return lag;
            }
        }
    })
    .await
}
