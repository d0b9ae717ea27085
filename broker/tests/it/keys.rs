//! Idempotency keys of events, and conditional publishes.

use crate::faults::log_of;
use crate::support::{Clients, Ground, appended, broker_at, event, reason, sequenced};
use eventflow_broker::jobs::Job;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, partition_result::Outcome, publish_stream_response::Answer};
use eventflow_testkit::{Action, Match, PgProxy, Step, Upstream};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use uuid::Uuid;

async fn spine() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 2).await;
    (ground, app, clients)
}

fn keyed(key: &str, payload: &str) -> v1::Event {
    v1::Event { idempotency_key: Some(key.into()), ..event(payload) }
}

/// A request for partition 0.
fn request(events: Vec<v1::Event>) -> v1::PublishRequest {
    v1::PublishRequest { stream: "orders".into(), events, partition: Some(0), ..Default::default() }
}

async fn publish(clients: &mut Clients, request: v1::PublishRequest) -> v1::PartitionResult {
    clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
}

fn error(result: &v1::PartitionResult) -> &v1::ErrorStatus {
    match &result.outcome {
        Some(Outcome::Error(error)) => error,
        other => panic!("a refusal, not {other:?}"),
    }
}

fn fields(error: &v1::ErrorStatus) -> Vec<&str> {
    error.field_violations.iter().map(|violation| violation.field.as_str()).collect()
}

/// The offset of each event, and the places of those that had been there.
fn stands(result: &v1::PartitionResult) -> (Vec<i64>, Vec<u32>) {
    let appended = appended(result);
    let first = (appended.base_offset, appended.event_count);
    let ranges = [first].into_iter().chain(appended.more.iter().map(|range| (range.base_offset, range.event_count)));
    let offsets: Vec<i64> = ranges.flat_map(|(base, count)| base..base + i64::from(count)).collect();
    let known = if appended.duplicate { (0..offsets.len() as u32).collect() } else { appended.duplicate_places };
    (offsets, known)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_content_gets_the_first_position_and_other_content_is_refused() {
    let (ground, _app, mut clients) = spine().await;
    let first = publish(&mut clients, request(vec![keyed("a", "1"), event("x"), keyed("b", "2")])).await;
    assert_eq!(stands(&first), (vec![0, 1, 2], vec![]));
    let again = publish(&mut clients, request(vec![keyed("b", "2")])).await;
    assert_eq!(stands(&again), (vec![2], vec![0]));
    assert!(appended(&again).duplicate);
    assert_eq!(appended(&again).append_time, appended(&first).append_time);
    // Id, time and trace are not what an event says.
    let other_time = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let told = v1::Event { id: Some("x".into()), time: other_time, ..keyed("a", "1") };
    let mut traced = tonic::Request::new(request(vec![told, event("y"), keyed("c", "3"), keyed("c", "3")]));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    traced.metadata_mut().insert("traceparent", trace.parse().expect("ascii"));
    let mixed = clients.publisher.publish(traced).await.expect("answered").into_inner().results.remove(0);
    assert_eq!(stands(&mixed), (vec![0, 3, 4, 4], vec![0, 3]));

    let bad = vec![keyed("d", "4"), keyed("a", "changed"), keyed("c", "changed"), event("z")];
    let refused = publish(&mut clients, request(bad)).await;
    let status = error(&refused);
    assert_eq!((status.reason.as_str(), status.code), ("IDEMPOTENCY_KEY_REUSED", tonic::Code::AlreadyExists as i32));
    assert_eq!(fields(status), ["events[1].idempotency_key", "events[2].idempotency_key"]);
    assert_eq!(status.metadata["applied"], "no");
    let twice = publish(&mut clients, request(vec![keyed("e", "1"), keyed("e", "2")])).await;
    assert_eq!(fields(error(&twice)), ["events[1].idempotency_key"]);
    // A key is one of its partition.
    let elsewhere = v1::PublishRequest { partition: Some(1), ..request(vec![keyed("a", "changed")]) };
    assert_eq!(stands(&publish(&mut clients, elsewhere).await), (vec![0], vec![]));
    let log: Vec<String> = log_of(&ground.database, "orders").await.into_iter().map(|(_, text)| text).collect();
    let mut expected = vec!["1", "x", "2", "y", "3", "changed"];
    let mut found: Vec<&str> = log.iter().map(String::as_str).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_routes_an_event_that_has_none_and_a_bad_one_is_named() {
    let (_ground, _app, mut clients) = spine().await;
    let routed = v1::PublishRequest { partition: None, ..request(vec![keyed("us", "1"), keyed("a", "2")]) };
    for known in [false, true] {
        let results = clients.publisher.publish(routed.clone()).await.expect("answered").into_inner().results;
        let of = |key: &str| eventflow_proto::partition_of_key(key.as_bytes(), 2);
        for result in &results {
            let events: Vec<u32> =
                if result.event_indexes.is_empty() { vec![0, 1] } else { result.event_indexes.clone() };
            assert!(events.iter().all(|event| of(["us", "a"][*event as usize]) == result.partition), "{results:?}");
            assert_eq!(appended(result).duplicate, known);
        }
    }
    let status = clients.publisher.publish(request(vec![event("x"), keyed("", "y")])).await.expect_err("refused");
    assert_eq!(reason(&status), "INVALID_ARGUMENT");
    assert!(status.message().contains("`events[1].idempotency_key`"), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_from_a_hundred_publishers_over_two_brokers_is_appended_once() {
    let (ground, _app, clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let elsewhere = Clients::new(&other, &key).await;
    for round in 0..10 {
        let mut calls = JoinSet::new();
        for number in 0..100 {
            let mut clients = if number % 2 == 0 { clients.clone() } else { elsewhere.clone() };
            let key = format!("round-{round}");
            calls.spawn(async move {
                let events = vec![keyed(&key, "same"), event(&number.to_string())];
                stands(&publish(&mut clients, request(events)).await)
            });
        }
        let all = calls.join_all().await;
        let offset = all[0].0[0];
        assert!(all.iter().all(|(offsets, _)| offsets[0] == offset), "one position in round {round}: {all:?}");
        assert_eq!(all.iter().filter(|(_, known)| known.is_empty()).count(), 1, "one is the first in round {round}");
    }
    let log = log_of(&ground.database, "orders").await;
    assert_eq!(log.iter().filter(|(_, text)| text == "same").count(), 10);
    assert_eq!(log.len(), 10 + 1_000, "and nobody else's events are lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_sequence_goes_on_over_events_that_were_known() {
    let (_ground, _app, mut clients) = spine().await;
    publish(&mut clients, request(vec![keyed("a", "1"), keyed("b", "2")])).await;
    let producer = Uuid::new_v4();
    let run = |sequence, events: Vec<v1::Event>| v1::PublishRequest {
        events,
        ..sequenced("orders", producer, 0, sequence, &[])
    };
    let mixed = run(0, vec![event("x"), keyed("b", "2"), keyed("a", "1"), event("y"), keyed("c", "3")]);
    assert_eq!(stands(&publish(&mut clients, mixed.clone()).await), (vec![2, 1, 0, 3, 4], vec![1, 2]));
    let all_known = run(5, vec![keyed("c", "3"), keyed("a", "1")]);
    assert_eq!(stands(&publish(&mut clients, all_known.clone()).await), (vec![4, 0], vec![0, 1]));
    // A repeat of the sequence gets the same positions, whole or in part.
    assert_eq!(stands(&publish(&mut clients, mixed).await).0, [2, 1, 0, 3, 4]);
    assert_eq!(stands(&publish(&mut clients, all_known).await).0, [4, 0]);
    assert_eq!(stands(&publish(&mut clients, run(1, vec![event("?"); 3])).await).0, [1, 0, 3]);
    assert_eq!(stands(&publish(&mut clients, run(7, vec![event("z")])).await).0, [5]);
    let gap = publish(&mut clients, run(9, vec![keyed("a", "1")])).await;
    assert_eq!(
        (error(&gap).reason.as_str(), error(&gap).metadata["expected_sequence"].as_str()),
        ("OUT_OF_SEQUENCE", "8")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_keeps_order_after_a_reused_key() {
    let (ground, _app, mut clients) = spine().await;
    publish(&mut clients, request(vec![keyed("a", "first")])).await;
    let producer = Uuid::new_v4();
    let run =
        |sequence, event| v1::PublishRequest { events: vec![event], ..sequenced("orders", producer, 0, sequence, &[]) };
    let requests = [
        run(0, keyed("b", "1")),
        run(1, keyed("a", "changed")),
        run(2, event("2")),
        run(1, event("3")),
        run(2, keyed("b", "1")),
        run(3, event("4")),
    ];
    let frames = requests.map(|publish| v1::PublishStreamRequest { publish: Some(publish) });
    let answers = clients.publisher.publish_stream(tokio_stream::iter(frames)).await.expect("a stream").into_inner();
    let said: Vec<String> = answers
        .map(|answer| match answer.expect("an answer").answer.expect("set") {
            Answer::Published(published) => match &published.results[0].outcome {
                Some(Outcome::Appended(appended)) => appended.base_offset.to_string(),
                Some(Outcome::Error(error)) => error.reason.clone(),
                other => panic!("{other:?}"),
            },
            Answer::Error(error) => error.reason,
        })
        .collect()
        .await;
    assert_eq!(said, ["1", "IDEMPOTENCY_KEY_REUSED", "PRECEDING_FAILED", "2", "1", "3"]);
    let log: Vec<String> = log_of(&ground.database, "orders").await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(log, ["first", "1", "3", "4"]);
}

/// A refusal at the end of one call refuses what was put off for the next, which leaves no call: what had to wait behind both is
/// answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_refusals_that_need_no_call_is_answered() {
    let ground = Ground::new().await;
    // Two partitions, two lanes: a request for the second says that those before it have reached the first.
    let app = ground.broker(&[("database.lanes", "2")]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 2).await;
    publish(&mut clients, request(vec![keyed("a", "first")])).await;
    let mut lock = ground.database.connect().await;
    let lock = lock.transaction().await.expect("a transaction");
    let first = "select 1 from eventflow.partition_head order by partition_id limit 1 for update";
    lock.batch_execute(first).await.expect("locked");
    let mut before = clients.clone();
    let mut held = JoinSet::new();
    held.spawn(async move { before.publish("orders", 0, &["before"]).await });
    ground.until_an_append_waits().await;

    let producer = Uuid::new_v4();
    let run = |sequence, events| v1::PublishRequest { events, ..sequenced("orders", producer, 0, sequence, &[]) };
    // The first two go together, and the second, which says something else under the same key, is put off. The third has no room.
    let large = "x".repeat(950 * 1024);
    let requests = [
        run(0, vec![keyed("a", &large), event(&large), event(&large)]),
        run(3, vec![keyed("a", "changed")]),
        run(4, vec![event(&large)]),
        v1::PublishRequest { partition: Some(1), ..request(vec![event("behind")]) },
    ];
    let frames = requests.map(|publish| v1::PublishStreamRequest { publish: Some(publish) });
    let answers = clients.publisher.publish_stream(tokio_stream::iter(frames)).await.expect("a stream").into_inner();
    let came = async {
        // poll
        while !log_of(&ground.database, "orders").await.iter().any(|(_, text)| text == "behind") {}
    };
    eventflow_testkit::within("the last request", came).await;
    lock.rollback().await.expect("unlocked");
    let said = answers.map(|answer| match answer.expect("an answer").answer.expect("set") {
        Answer::Published(published) => match &published.results[0].outcome {
            Some(Outcome::Error(error)) => error.reason.clone(),
            _ => "appended".to_owned(),
        },
        Answer::Error(error) => error.reason,
    });
    let said: Vec<String> = eventflow_testkit::within("all answers", said.collect()).await;
    assert_eq!(said, ["IDEMPOTENCY_KEY_REUSED", "PRECEDING_FAILED", "PRECEDING_FAILED", "appended"]);
    held.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_published_under_keys_stands_where_a_model_says() {
    let (ground, _app, mut clients) = spine().await;
    let mut model: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let mut log: Vec<String> = Vec::new();
    let producer = Uuid::new_v4();
    let (mut sequence, mut random) = (0, 7u64);
    let mut below = |bound: u64| {
        // A small generator of its own: the same requests every time.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for round in 0..400 {
        let events: Vec<(Option<String>, String)> = (0..=below(5))
            .map(|place| match below(4) {
                0 => (None, format!("{round}-{place}")),
                _ => (Some(format!("k{}", below(60))), format!("c{}", below(8).min(1))),
            })
            .collect();
        let mut now = model.clone();
        let (mut offsets, mut known, mut reused) = (Vec::new(), Vec::new(), Vec::new());
        let mut fresh = Vec::new();
        for (place, (key, text)) in events.iter().enumerate() {
            let next = (log.len() + fresh.len()) as i64;
            match key.as_ref().and_then(|key| now.get(key)) {
                Some((said, offset)) if said == text => {
                    offsets.push(*offset);
                    known.push(place as u32);
                }
                Some(_) => reused.push(place),
                None => {
                    offsets.push(next);
                    fresh.push(text.clone());
                    if let Some(key) = key {
                        now.insert(key.clone(), (text.clone(), next));
                    }
                }
            }
        }
        let wire: Vec<v1::Event> =
            events.iter().map(|(key, text)| v1::Event { idempotency_key: key.clone(), ..event(text) }).collect();
        let numbered = below(2) == 0;
        let count = wire.len() as i64;
        let ask = if numbered {
            v1::PublishRequest { events: wire, ..sequenced("orders", producer, 0, sequence, &[]) }
        } else {
            request(wire)
        };
        let result = publish(&mut clients, ask.clone()).await;
        if reused.is_empty() {
            assert_eq!(stands(&result), (offsets.clone(), known), "round {round}: {events:?}");
            if numbered {
                assert_eq!(stands(&publish(&mut clients, ask).await).0, offsets, "round {round} again: {events:?}");
                sequence += count;
            }
            model = now;
            log.extend(fresh);
        } else {
            assert_eq!(error(&result).reason, "IDEMPOTENCY_KEY_REUSED", "round {round}: {events:?}");
        }
    }
    let stored: Vec<String> = log_of(&ground.database, "orders").await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(stored, log);
}

/// A connection that breaks at `step` of an append with keys.
async fn broken_keyed_append(step: Step) {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let app = broker_at(&ground.database.through(proxy.address()).url(), &[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    publish(&mut clients, request(vec![keyed("a", "1")])).await;
    // The first call learns that `a` is known, the second one appends.
    let rule = proxy.on(Match::sql_contains("append_keyed_v1").nth(2), step, Action::Cut);
    let second = publish(&mut clients, request(vec![event("x"), keyed("a", "1"), keyed("b", "2")])).await;
    rule.fired().await;
    assert_eq!(stands(&second).0, [1, 0, 2]);
    let third = publish(&mut clients, request(vec![keyed("b", "2"), event("y")])).await;
    assert_eq!(stands(&third), (vec![2, 3], vec![0]));
    let log: Vec<String> = log_of(&ground.database, "orders").await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(log, ["1", "x", "2", "y"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_keys_that_never_reached_the_server_is_made_once() {
    broken_keyed_append(Step::BeforeForward).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_keys_whose_answer_was_lost_is_made_once() {
    broken_keyed_append(Step::BeforeReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_keys_never_enter_the_function_for_keys() {
    let (ground, _app, mut clients) = spine().await;
    let superuser = ground.database.connect().await;
    let signature = "append_keyed_v1(bigint, boolean, eventflow.append_run_v1[], eventflow.append_row_v1[], \
                     eventflow.append_key_v1[], bigint[], eventflow.append_last_v1[])";
    let gone = format!("alter function eventflow.{signature} rename to gone");
    superuser.batch_execute(&gone).await.expect("renamed");
    assert_eq!(clients.publish("orders", 0, &["a"]).await, 0);
    let with_key = publish(&mut clients, request(vec![keyed("a", "1")])).await;
    assert!(error(&with_key).metadata["applied"] == "no", "{with_key:?}");
    assert_eq!(clients.publish("orders", 0, &["b"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_for_as_long_as_their_stream_says() {
    let (ground, app, mut clients) = spine().await;
    let keep = |seconds| {
        let idempotency_key_retention = Some(prost_types::Duration { seconds, nanos: 0 });
        let stream = v1::Stream { name: "orders".into(), idempotency_key_retention, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["idempotency_key_retention".into()] });
        v1::UpdateStreamRequest { stream: Some(stream), update_mask, ..Default::default() }
    };
    publish(&mut clients, request(vec![keyed("old", "1"), keyed("young", "2")])).await;
    let superuser = ground.database.connect().await;
    let age = "update eventflow.event_key set appended_at = appended_at - interval '2 hours' where key = 'old'";
    assert_eq!(superuser.execute(age, &[]).await.expect("aged"), 1);
    for (seconds, known) in [(0, true), (3 * 3600, true), (3600, false)] {
        clients.streams.update_stream(keep(seconds)).await.expect("updated");
        Job::Prune.tick(app.store()).await.expect("pruned");
        let old = publish(&mut clients, request(vec![keyed("old", "1")])).await;
        assert_eq!(appended(&old).duplicate, known, "kept for {seconds} s");
        let young = publish(&mut clients, request(vec![keyed("young", "2")])).await;
        assert!(appended(&young).duplicate, "kept for {seconds} s");
    }
    let status = clients.streams.update_stream(keep(59)).await.expect_err("too short");
    assert!(status.message().contains("idempotency_key_retention"), "{}", status.message());
    clients
        .streams
        .delete_stream(v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() })
        .await
        .expect("deleted");
    Job::Prune.tick(app.store()).await.expect("pruned");
    let left: i64 = superuser.query_one("select count(*) from eventflow.event_key", &[]).await.expect("counted").get(0);
    assert_eq!(left, 0, "keys go with their stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_holds_or_nothing_is_applied_and_everything_that_fails_is_said_at_once() {
    let (_ground, _app, mut clients) = spine().await;
    let expecting = |next, events| v1::PublishRequest { expected_next_offset: Some(next), ..request(events) };
    assert_eq!(stands(&publish(&mut clients, expecting(0, vec![event("a"), keyed("k", "b")])).await).0, [0, 1]);
    let late = publish(&mut clients, expecting(1, vec![event("c")])).await;
    let status = error(&late);
    assert_eq!((status.reason.as_str(), status.code), ("EXPECTATION_FAILED", tonic::Code::FailedPrecondition as i32));
    assert_eq!((status.metadata["next_offset"].as_str(), status.metadata["applied"].as_str()), ("2", "no"));
    let both = publish(&mut clients, expecting(1, vec![event("c"), keyed("k", "changed")])).await;
    assert_eq!(fields(error(&both)), ["events[1].idempotency_key", "expected_next_offset"]);
    assert_eq!(error(&both).metadata["next_offset"], "2");
    // What is there already is there, whatever is expected.
    assert_eq!(stands(&publish(&mut clients, expecting(0, vec![keyed("k", "b")])).await), (vec![1], vec![0]));
    let producer = Uuid::new_v4();
    let numbered =
        |next| v1::PublishRequest { expected_next_offset: Some(next), ..sequenced("orders", producer, 0, 0, &["d"]) };
    assert_eq!(stands(&publish(&mut clients, numbered(2)).await).0, [2]);
    assert!(appended(&publish(&mut clients, numbered(2)).await).duplicate, "a repeat of the sequence");
    let nowhere = v1::PublishRequest { partition: None, ..expecting(3, vec![event("x")]) };
    assert_eq!(reason(&clients.publisher.publish(nowhere).await.expect_err("refused")), "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_expect_the_same_offset_one_gets_it() {
    let (ground, _app, clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let elsewhere = Clients::new(&other, &key).await;
    for round in 0..20i64 {
        let mut calls = JoinSet::new();
        for number in 0..20 {
            let mut clients = if number % 2 == 0 { clients.clone() } else { elsewhere.clone() };
            calls.spawn(async move {
                let ask = v1::PublishRequest { expected_next_offset: Some(round), ..request(vec![event("x")]) };
                match publish(&mut clients, ask).await.outcome {
                    Some(Outcome::Appended(appended)) => Some(appended.base_offset),
                    Some(Outcome::Error(error)) if error.reason == "EXPECTATION_FAILED" => None,
                    other => panic!("{other:?}"),
                }
            });
        }
        let won: Vec<i64> = calls.join_all().await.into_iter().flatten().collect();
        assert_eq!(won, [round]);
    }
    assert_eq!(log_of(&ground.database, "orders").await.len(), 20);
}
