//! Filters of groups and of reads: only what matches is sent, and progress moves past the rest.

use crate::support::member::Member;
use crate::support::{Clients, Ground, appended, event, text};
use eventflow_broker::runtime::app::App;
use eventflow_proto::EventBatch;
use eventflow_proto::v1::{self, read_response::Frame as ReadFrame, subscribe_response::Frame};
use eventflow_testkit::within;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

async fn spine() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    (ground, app, clients)
}

async fn create_group(clients: &mut Clients, filter: &str) -> Result<v1::ConsumerGroup, Status> {
    let group = v1::ConsumerGroup {
        name: "billing".into(),
        stream: "orders".into(),
        filter: filter.into(),
        ..Default::default()
    };
    let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
    Ok(clients.groups.create_consumer_group(request).await?.into_inner().group.expect("a group"))
}

async fn set_filter(clients: &mut Clients, filter: &str) -> i64 {
    let group = v1::ConsumerGroup { name: "billing".into(), filter: filter.into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["filter".into()] });
    let request = v1::UpdateConsumerGroupRequest { group: Some(group), update_mask, ..Default::default() };
    let group = clients.groups.update_consumer_group(request).await.expect("updated").into_inner().group;
    group.expect("a group").filter_version
}

/// Publishes one request of texts, each of which is its event's type too.
pub async fn publish(clients: &mut Clients, texts: &[&str]) -> i64 {
    let events = texts.iter().map(|text| v1::Event { r#type: (*text).into(), ..event(text) }).collect();
    let request = v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
    let response = clients.publisher.publish(request).await.expect("published").into_inner();
    appended(&response.results[0]).base_offset
}

/// The events of a batch with their offsets.
fn seen(batch: &EventBatch) -> Vec<(i64, String)> {
    let offset = |index: usize| match batch.offset_deltas.get(index) {
        Some(delta) => batch.base_offset + i64::from(*delta),
        None => batch.base_offset + index as i64,
    };
    batch.events.iter().enumerate().map(|(index, event)| (offset(index), text(event))).collect()
}

/// What a group has committed in its partition.
async fn committed(clients: &mut Clients) -> i64 {
    let lag = clients.groups.get_lag(v1::GetLagRequest { name: "billing".into() }).await.expect("a lag").into_inner();
    lag.partitions[0].next_offset
}

async fn until_committed(clients: &mut Clients, offset: i64) {
    // poll
    within("progress", async { while committed(clients).await < offset {} }).await;
    assert_eq!(committed(clients).await, offset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_gets_what_matches_and_its_progress_moves_past_the_rest() {
    let (_ground, _app, mut clients) = spine().await;
    let made = create_group(&mut clients, r#"type in ["a", "c"] or payload.n == 1"#).await.expect("created");
    assert_eq!(made.filter_version, 1);
    publish(&mut clients, &["a", "b", "c", "c", "b", r#"{"n": 1}"#, "b", "b"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    let batch = member.batch().await;
    let expected = [(0, "a"), (2, "c"), (3, "c"), (5, r#"{"n": 1}"#)].map(|(offset, text)| (offset, text.to_owned()));
    assert_eq!(seen(&batch), expected);
    assert_eq!((batch.next_offset, batch.offset_deltas.as_slice()), (8, [0, 2, 3, 5].as_slice()));
    assert_eq!(batch.publishers.iter().map(|run| run.event_count).sum::<u32>(), 4);
    assert_eq!(committed(&mut clients).await, 0, "nothing is done before the member says so");
    // The last event is done, and with it what behind it does not match.
    assert!(member.commit(0, 6).await.committed_offset >= Some(6));
    until_committed(&mut clients, 8).await;
    // Contiguous events need no offsets of their own.
    publish(&mut clients, &["b", "c", "c"]).await;
    let batch = member.batch().await;
    assert_eq!((batch.base_offset, batch.events.len(), batch.offset_deltas.len()), (9, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_leaves_everything_out_still_commits_progress() {
    let (_ground, _app, mut clients) = spine().await;
    create_group(&mut clients, "type == \"never\"").await.expect("created");
    for _ in 0..3 {
        publish(&mut clients, &["x"; 2_000]).await;
    }
    let member = Member::join(&clients, "billing", "one").await.expect("joined");
    until_committed(&mut clients, 6_000).await;
    publish(&mut clients, &["x"]).await;
    until_committed(&mut clients, 6_001).await;
    member.leave().await;
    // The next member does not look at any of it again.
    let mut next = Member::join(&clients, "billing", "two").await.expect("joined");
    next.until_held(1).await;
    assert_eq!(next.held[&0].next_offset, 6_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_matches_nothing_is_handed_over_without_waiting() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 2).await;
    create_group(&mut clients, "type == \"never\"").await.expect("created");
    clients.publish("orders", 0, &["x", "y"]).await;
    clients.publish("orders", 1, &["x", "y"]).await;
    let mut first = Member::join(&clients, "billing", "first").await.expect("joined");
    first.until_held(2).await;
    let mut second = Member::join(&clients, "billing", "second").await.expect("joined");
    // Nothing was delivered, so there is nothing for the first one to commit or to release.
    second.until_held(1).await;
    first.until_held(1).await;
    let lease = second.held.values().next().expect("one");
    assert_eq!(lease.next_offset, 2, "what did not match is behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_applies_from_where_delivery_stands() {
    let (_ground, _app, mut clients) = spine().await;
    create_group(&mut clients, "").await.expect("created");
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    publish(&mut clients, &["a", "b"]).await;
    assert_eq!(seen(&member.batch().await).len(), 2, "no filter, every event");
    assert_eq!(set_filter(&mut clients, "type == \"a\"").await, 1);
    assert_eq!(set_filter(&mut clients, "type == \"a\"").await, 1, "the same again is no change");
    // poll: the session learns of it as it learns of a pause
    let last = within("the filter", async {
        loop {
            let offset = publish(&mut clients, &["b", "a"]).await;
            let batch = member.batch().await;
            if batch.events.len() == 1 {
                assert_eq!(seen(&batch), [(offset + 1, "a".to_owned())]);
                return offset + 2;
            }
        }
    })
    .await;
    assert_eq!(set_filter(&mut clients, "").await, 2);
    // poll
    within("no filter", async {
        loop {
            let offset = publish(&mut clients, &["a", "b"]).await;
            assert!(offset >= last);
            let batch = member.batch().await;
            if batch.events.len() == 2 {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_window_counts_what_is_delivered() {
    let (_ground, _app, mut clients) = spine().await;
    create_group(&mut clients, "type == \"a\"").await.expect("created");
    let texts: Vec<&str> = (0..100).map(|number| if number % 10 == 0 { "a" } else { "b" }).collect();
    publish(&mut clients, &texts).await;
    let request = v1::SubscribeRequest {
        group: "billing".into(),
        member_name: "one".into(),
        window_events: 4,
        ..Default::default()
    };
    let mut member = Member::subscribe(&clients, request).await.expect("joined");
    let mut offsets: Vec<i64> = Vec::new();
    for part in [4, 4, 2] {
        let mut got = 0;
        while got < part {
            let batch = member.batch().await;
            got += batch.events.len();
            offsets.extend(seen(&batch).into_iter().map(|(offset, _)| offset));
        }
        assert_eq!(got, part, "no more than the window");
        let next = offsets.last().expect("some") + 1;
        assert!(member.commit(0, next).await.committed_offset >= Some(next));
    }
    assert_eq!(offsets, (0..100).step_by(10).collect::<Vec<i64>>());
    until_committed(&mut clients, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_takes_a_filter_of_its_own_and_counts_what_matches() {
    let (_ground, _app, mut clients) = spine().await;
    publish(&mut clients, &["a", "b", "a", "b", "a"]).await;
    let read = async |clients: &mut Clients, filter: &str, max_events| {
        let request =
            v1::ReadRequest { stream: "orders".into(), filter: filter.into(), max_events, ..Default::default() };
        let mut frames = clients.log.read(request).await?.into_inner();
        let (mut offsets, mut caught_up) = (Vec::new(), false);
        while let Some(frame) = frames.next().await {
            match frame?.frame {
                Some(ReadFrame::Batch(batch)) => {
                    offsets.extend(seen(&batch.head).into_iter().map(|(offset, _)| offset))
                }
                Some(ReadFrame::CaughtUp(_)) => caught_up = true,
                _ => {}
            }
        }
        Ok::<_, Status>((offsets, caught_up))
    };
    assert_eq!(read(&mut clients, "type == \"a\"", 0).await.expect("read"), (vec![0, 2, 4], true));
    assert_eq!(read(&mut clients, "type == \"a\"", 2).await.expect("read").0, [0, 2]);
    assert_eq!(read(&mut clients, "type == \"never\"", 0).await.expect("read"), (vec![], true));
    let status = read(&mut clients, "type = \"a\"", 0).await.expect_err("no filter");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("character 6"), "{}", status.message());
    let status = create_group(&mut clients, "payload.").await.expect_err("no filter");
    assert_eq!(status.get_details_bad_request().expect("places").field_violations[0].field, "group.filter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_and_a_filter_go_together() {
    let (_ground, _app, mut clients) = spine().await;
    create_group(&mut clients, "type == \"a\"").await.expect("created");
    publish(&mut clients, &["a", "b", "b"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    assert_eq!(seen(&member.batch().await), [(0, "a".to_owned())]);
    member.commit(0, 1).await;
    until_committed(&mut clients, 3).await;
    let at = Some(v1::position::At::Earliest(true));
    let seek = v1::SeekRequest { name: "billing".into(), to: Some(v1::Position { at }), ..Default::default() };
    clients.groups.seek(seek).await.expect("moved");
    member.until(|_, frame| matches!(frame, Frame::Repositioned(_)).then_some(())).await;
    assert_eq!(seen(&member.batch().await), [(0, "a".to_owned())]);
    member.commit(0, 1).await;
    until_committed(&mut clients, 3).await;
}
