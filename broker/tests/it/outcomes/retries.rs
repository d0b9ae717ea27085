//! Retries: counted exactly, with a copy of the event, and a dead letter at the end.

use super::{dead_letters, retry_rows, seconds, shared, stage, until_done};
use crate::support::Clients;
use crate::support::member::{Member, ack, nack};
use eventflow_proto::v1;
use eventflow_proto::v1::event_outcome::Outcome;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_one_dead_letter_after_exactly_the_attempts_allowed() {
    let (ground, _app, mut clients) = stage(1, shared(3)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["good", "poison", "good too"]).await;
    let mut attempts = Vec::new();
    let mut good = 0;
    while attempts.len() < 3 || good < 2 {
        for event in member.events().await {
            let outcome = if event.text == "poison" {
                let reason = format!("failed {}", event.attempt);
                attempts.push((event.attempt, event.last_reason.clone()));
                nack(&reason)
            } else {
                good += 1;
                ack()
            };
            assert_eq!(member.settle_one(&event, outcome).await, None);
        }
    }
    let expected = [(1, ""), (2, "failed 1"), (3, "failed 2")].map(|(attempt, reason)| (attempt, reason.to_owned()));
    assert_eq!(attempts, expected);
    let lag = until_done(&mut clients).await;
    assert_eq!(
        (lag.dead_letter_events, lag.partitions[0].dead_letter_events, lag.partitions[0].next_offset),
        (1, 1, 3)
    );
    assert_eq!(dead_letters(&ground).await, [(1, 3, "failed 3".into(), 3)]);
    assert!(tokio::time::timeout(Duration::from_millis(700), member.events()).await.is_err(), "it does not come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_given_up_is_a_dead_letter_at_once_with_all_that_it_was() {
    let (ground, _app, mut clients) = stage(1, shared(9)).await;
    let event = v1::Event {
        id: Some("id-1".into()),
        r#type: "order.paid".into(),
        key: Some("k".into()),
        headers: vec![v1::Header { name: "a".into(), value: "ä".into() }],
        content_type: "text/plain".into(),
        payload: Some(v1::event::Payload::Text("payload".into())),
        ..Default::default()
    };
    let request = v1::PublishRequest { stream: "orders".into(), events: vec![event], ..Default::default() };
    clients.publisher.publish(request).await.expect("published");
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let event = member.events().await.remove(0);
    let given_up = Outcome::DeadLetter(v1::DeadLetter {
        reason: "no such customer".into(),
        error_class: "NotFound".into(),
        ..Default::default()
    });
    assert_eq!(member.settle_one(&event, given_up).await, None);
    let sql =
        "select id, type, key, headers, content_type, convert_from(payload, 'UTF8'), reason, error_class, attempts,
                      history->0->>'member', publisher like 'key:%' from eventflow.dead_letter_event";
    let row = ground.database.connect().await.query_one(sql, &[]).await.expect("one dead letter");
    let texts: Vec<String> = (0..8).map(|place| row.get(place)).collect();
    let expected =
        ["id-1", "order.paid", "k", "{\"a\":\"ä\"}", "text/plain", "payload", "no such customer", "NotFound"];
    assert_eq!(texts, expected);
    assert_eq!((row.get::<_, i32>(8), row.get::<_, &str>(9), row.get::<_, bool>(10)), (1, "one", true));
    assert_eq!(retry_rows(&ground).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_an_outcome_is_tried_again_and_a_late_one_is_refused() {
    let group = v1::ConsumerGroup { ack_timeout: seconds(1), ..shared(5) };
    let (_ground, _app, mut clients) = stage(1, group).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b"]).await;
    let events = member.some_events(2).await;
    // One of them takes longer, and says so.
    let again = Outcome::Extend(v1::Extend { by: seconds(30) });
    let single = Member::join(&clients, "workers", "other").await.expect("joined");
    drop(single);
    assert_eq!(member.settle_one(&events[0], again.clone()).await, None);
    clients.publish("orders", 0, &["c"]).await;
    let c = member.events().await.remove(0);
    let late = member.events().await.remove(0);
    assert_eq!((late.text.as_str(), late.attempt), ("c", 2), "what was extended is not tried again");
    assert!(late.last_reason.contains("no outcome within"), "{}", late.last_reason);
    let (in_time, too_late) = (late.outcome(ack()), c.outcome(ack()));
    assert_ne!(in_time.lease_epoch, too_late.lease_epoch);
    let refused = member.settle(vec![in_time, too_late.clone()]).await;
    let refused: Vec<_> = refused.iter().map(|failure| (failure.offset, failure.lease_epoch)).collect();
    assert_eq!(
        refused,
        [(c.offset, too_late.lease_epoch)],
        "of two outcomes of one event, the answer names the late one"
    );
    let again = member.settle_one(&c, ack()).await;
    assert!(matches!(again.as_deref(), Some("ACK_DEADLINE_PASSED" | "EVENT_NOT_IN_FLIGHT")), "{again:?}");
    for event in &events {
        assert_eq!(member.settle_one(event, ack()).await, None);
    }
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_after_the_group_was_changed_has_its_new_settings_beside_members_of_before() {
    let (ground, _app, mut clients) = stage(1, shared(9)).await;
    // It keeps one event and takes no other.
    let request = v1::SubscribeRequest { group: "workers".into(), window_events: 1, ..Default::default() };
    let mut before = Member::subscribe(&clients, request).await.expect("joined");
    clients.publish("orders", 0, &["kept"]).await;
    let kept = before.some_events(1).await.remove(0);
    let group = v1::ConsumerGroup {
        name: "workers".into(),
        retry_policy: Some(v1::RetryPolicy { max_attempts: Some(1), ..Default::default() }),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["retry_policy".into()] });
    let request = v1::UpdateConsumerGroupRequest { group: Some(group), update_mask, ..Default::default() };
    clients.groups.update_consumer_group(request).await.expect("updated");
    let mut after = Member::join(&clients, "workers", "after").await.expect("joined");
    clients.publish("orders", 0, &["failed"]).await;
    let failed = after.events().await.remove(0);
    assert_eq!(after.settle_one(&failed, nack("once is enough")).await, None);
    assert_eq!(dead_letters(&ground).await, [(failed.offset, 1, "once is enough".into(), 1)]);
    assert_eq!(before.settle_one(&kept, nack("as it began")).await, None);
    assert_eq!((retry_rows(&ground).await, dead_letters(&ground).await.len()), (1, 1), "it goes on as it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_ack_is_refused_while_the_event_waits_for_its_next_attempt() {
    let soon = v1::RetryPolicy { initial_backoff: seconds(60), max_attempts: Some(5), ..Default::default() };
    let group = v1::ConsumerGroup { ack_timeout: seconds(1), retry_policy: Some(soon), ..shared(5) };
    let (ground, _app, mut clients) = stage(1, group).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a"]).await;
    let event = member.events().await.remove(0);
    eventflow_testkit::within("the deadline to pass", async {
        // poll
        while retry_rows(&ground).await == 0 {}
    })
    .await;
    assert_eq!(member.settle_one(&event, ack()).await.as_deref(), Some("ACK_DEADLINE_PASSED"));
    let extend = Outcome::Extend(v1::Extend { by: None });
    assert_eq!(member.settle_one(&event, extend).await.as_deref(), Some("ACK_DEADLINE_PASSED"));
    assert_eq!(retry_rows(&ground).await, 1, "the late ack changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_lost_counts_and_a_leave_does_not() {
    let (_ground, _app, mut clients) = stage(1, shared(5)).await;
    clients.publish("orders", 0, &["a"]).await;
    let mut first = Member::join(&clients, "workers", "one").await.expect("joined");
    assert_eq!(first.events().await[0].attempt, 1);
    first.leave().await;
    let mut second = Member::join(&clients, "workers", "two").await.expect("joined");
    assert_eq!(second.events().await[0].attempt, 1, "a leave does not count");
    drop(second);
    let mut third = Member::join(&clients, "workers", "three").await.expect("joined");
    let event = third.events().await.remove(0);
    assert_eq!((event.attempt, event.last_reason.contains("without a leave")), (2, true), "{event:?}");
    assert_eq!(third.settle_one(&event, ack()).await, None);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_lost_streams_have_charged_is_tried_alone_before_it_is_given_up() {
    let (ground, _app, mut clients) = stage(1, shared(2)).await;
    clients.publish("orders", 0, &["crash", "innocent"]).await;
    for attempt in 1..=2 {
        let mut member = Member::join(&clients, "workers", "crashes").await.expect("joined");
        let events = member.some_events(2).await;
        assert!(events.iter().all(|event| event.attempt == attempt), "{events:?}");
    }
    // Both have used up their attempts, and neither is given up: each is tried alone.
    let mut member = Member::join(&clients, "workers", "careful").await.expect("joined");
    let event = member.events().await;
    assert_eq!((event.len(), event[0].attempt), (1, 3));
    assert!(tokio::time::timeout(Duration::from_millis(700), member.events()).await.is_err(), "nothing beside it");
    assert_eq!(member.settle_one(&event[0], ack()).await, None);
    let other = member.events().await;
    assert_eq!(other.len(), 1);
    drop(member);
    eventflow_testkit::within("the dead letter", async {
        // poll
        while dead_letters(&ground).await.is_empty() {}
    })
    .await;
    let dead = dead_letters(&ground).await;
    assert_eq!((dead.len(), dead[0].0, dead[0].1), (1, other[0].offset, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_forgets_retries_and_tells_members() {
    let never = v1::RetryPolicy { initial_backoff: seconds(3_000), ..Default::default() };
    let (ground, _app, mut clients) = stage(1, v1::ConsumerGroup { retry_policy: Some(never), ..shared(5) }).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let events = member.some_events(3).await;
    assert_eq!(member.settle_one(&events[0], nack("later")).await, None);
    assert_eq!(retry_rows(&ground).await, 1);
    let to = v1::Position { at: Some(v1::position::At::Earliest(true)) };
    let seek =
        |validate_only| v1::SeekRequest { name: "workers".into(), to: Some(to), validate_only, ..Default::default() };
    for validate_only in [true, false] {
        let moved = clients.groups.seek(seek(validate_only)).await.expect("moved").into_inner();
        assert_eq!(moved.partitions[0].cleared_retries, 1);
    }
    member.until(|_, frame| matches!(frame, v1::subscribe_response::Frame::Repositioned(_)).then_some(())).await;
    let refused = member.settle_one(&events[1], ack()).await;
    assert!(refused.is_some(), "what came before the seek is void");
    let again = member.some_events(3).await;
    assert!(again.iter().all(|event| event.attempt == 1));
    for event in &again {
        assert_eq!(member.settle_one(event, ack()).await, None);
    }
    until_done(&mut clients).await;
    assert_eq!(retry_rows(&ground).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_cannot_touch_claims_or_retries() {
    let (ground, app, mut clients) = stage(1, shared(5)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b"]).await;
    let events = member.some_events(2).await;
    assert_eq!(member.settle_one(&events[0], nack("x")).await, None);
    let foreign = Clients::new(&app, &ground.key("globex").await).await;
    let refused = Member::join(&foreign, "workers", "spy").await.err().expect("refused");
    assert_eq!(crate::support::reason(&refused), "CONSUMER_GROUP_NOT_FOUND");
    // Not even a broker that is told the wrong organization: the functions compare.
    let client = ground.database.connect().await;
    let sql =
        "select o.organization_id, c.group_id, c.partition_id, c.holder, c.broker_id, c.from_offset, c.lease_epoch
               from eventflow.organization o, eventflow.group_claim c where o.name = 'globex'";
    let row = client.query_one(sql, &[]).await.expect("a claim");
    let (organization, group, partition): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let (holder, broker): (uuid::Uuid, uuid::Uuid) = (row.get(3), row.get(4));
    let claim = "select count(*) from eventflow.claim_v1($1, $2, $3, $4, array[$5]::bigint[], 10)";
    let taken: i64 =
        client.query_one(claim, &[&organization, &group, &holder, &broker, &partition]).await.expect("asked").get(0);
    let retries = "select count(*) from eventflow.take_retries_v1($1, $2, $3, $4, null, 10, 1000000)";
    let due: i64 = client.query_one(retries, &[&organization, &group, &holder, &broker]).await.expect("asked").get(0);
    let settle = "select lost_claims from eventflow.settle_v1($1, $2, $3,
                  array[row($4, $5, $6, '{[0,2)}')::eventflow.done_input_v1], '{}', '{}')";
    let (from, epoch): (i64, i64) = (row.get(5), row.get(6));
    let lost: Vec<i32> = client
        .query_one(settle, &[&organization, &group, &holder, &partition, &from, &epoch])
        .await
        .expect("asked")
        .get(0);
    assert_eq!((taken, due, lost), (0, 0, vec![1]));
    assert_eq!(member.settle_one(&events[1], ack()).await, None, "and nothing has changed");
}
