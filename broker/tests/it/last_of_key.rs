//! Publishes that expect where the last event of a key stands, and what keeps that up.

use crate::faults::log_of;
use crate::support::{Clients, Ground, appended, broker_at, event, reason, sequenced};
use eventflow_broker::jobs::Job;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, partition_result::Outcome, publish_stream_response::Answer};
use eventflow_testkit::{Action, Database, Match, PgProxy, Step, Upstream};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use uuid::Uuid;

async fn spine() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    tracked(&mut clients, 2).await;
    (ground, app, clients)
}

/// Makes the stream `orders`, which tracks its keys.
async fn tracked(clients: &mut Clients, partitions: u32) -> v1::Stream {
    let stream = v1::Stream { name: "orders".into(), partitions, track_keys: true, ..Default::default() };
    let request = v1::CreateStreamRequest { stream: Some(stream), ..Default::default() };
    clients.streams.create_stream(request).await.expect("a stream").into_inner().stream.expect("a stream")
}

fn of(key: &str, text: &str) -> v1::Event {
    v1::Event { key: Some(key.into()), ..event(text) }
}

fn once(name: &str, event: v1::Event) -> v1::Event {
    v1::Event { idempotency_key: Some(name.into()), ..event }
}

/// A request for partition 0.
fn request(events: Vec<v1::Event>) -> v1::PublishRequest {
    v1::PublishRequest { stream: "orders".into(), events, partition: Some(0), ..Default::default() }
}

fn expecting(expected: &[(&str, Option<i64>)], request: v1::PublishRequest) -> v1::PublishRequest {
    let keys =
        expected.iter().map(|(key, last_offset)| v1::KeyExpectation { key: (*key).into(), last_offset: *last_offset });
    v1::PublishRequest { expected_keys: keys.collect(), ..request }
}

async fn publish(clients: &mut Clients, request: v1::PublishRequest) -> v1::PartitionResult {
    clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
}

/// The offset of each event.
fn stands(result: &v1::PartitionResult) -> Vec<i64> {
    let appended = appended(result);
    let first = (appended.base_offset, appended.event_count);
    let ranges = [first].into_iter().chain(appended.more.iter().map(|range| (range.base_offset, range.event_count)));
    ranges.flat_map(|(base, count)| base..base + i64::from(count)).collect()
}

fn error(result: &v1::PartitionResult) -> &v1::ErrorStatus {
    match &result.outcome {
        Some(Outcome::Error(error)) => error,
        other => panic!("a refusal, not {other:?}"),
    }
}

/// Why, and which fields say so.
fn refused(result: &v1::PartitionResult) -> (&str, Vec<&str>) {
    let error = error(result);
    assert_eq!(error.metadata["applied"], "no");
    (error.reason.as_str(), error.field_violations.iter().map(|violation| violation.field.as_str()).collect())
}

async fn texts(database: &Database) -> Vec<String> {
    log_of(database, "orders").await.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_expected_of_a_key_holds_or_nothing_is_applied_and_everything_that_fails_is_said_at_once() {
    let (ground, _app, mut clients) = spine().await;
    let first = expecting(&[("a", None)], request(vec![of("a", "1"), of("b", "2"), of("a", "3")]));
    assert_eq!(stands(&publish(&mut clients, first.clone()).await), [0, 1, 2]);
    let again = publish(&mut clients, first).await;
    assert_eq!(refused(&again), ("EXPECTATION_FAILED", vec!["expected_keys[0].last_offset"]));
    assert_eq!(error(&again).code, tonic::Code::FailedPrecondition as i32);
    assert_eq!(error(&again).metadata["last_offset"], "2");
    assert!(error(&again).message.contains("key `a` has its last event at 2, and none was expected"), "{again:?}");
    // Without a condition, and without a key: what is known of keys goes on.
    assert_eq!(stands(&publish(&mut clients, request(vec![of("b", "4"), event("5")])).await), [3, 4]);
    let all = [("a", Some(1)), ("b", Some(3)), ("c", Some(0)), ("", None)];
    let all = v1::PublishRequest { expected_next_offset: Some(4), ..expecting(&all, request(vec![of("a", "x")])) };
    let all = publish(&mut clients, all).await;
    let named = vec!["expected_next_offset", "expected_keys[0].last_offset", "expected_keys[2].last_offset"];
    assert_eq!(refused(&all), ("EXPECTATION_FAILED", named));
    assert_eq!((&*error(&all).metadata["next_offset"], &*error(&all).metadata["last_offset"]), ("5", "2"));
    assert!(error(&all).field_violations[2].description.contains("key `c` has no event"), "{all:?}");
    // Others may be expected to stay as they are; an empty key is one.
    let others = expecting(&[("b", Some(3)), ("c", None)], request(vec![of("a", "6"), of("", "7")]));
    assert_eq!(stands(&publish(&mut clients, others).await), [5, 6]);
    assert_eq!(stands(&publish(&mut clients, expecting(&[("", Some(6))], request(vec![event("8")]))).await), [7]);
    assert_eq!(texts(&ground.database).await, ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_before_is_answered_whatever_is_expected_by_now() {
    let (ground, _app, mut clients) = spine().await;
    let created = expecting(&[("a", None)], request(vec![once("create", of("a", "1"))]));
    assert_eq!(stands(&publish(&mut clients, created.clone()).await), [0]);
    let repeat = publish(&mut clients, created).await;
    assert_eq!((stands(&repeat), appended(&repeat).duplicate), (vec![0], true));
    let producer = Uuid::new_v4();
    let numbered = |expected| {
        let run = v1::PublishRequest { events: vec![of("a", "2")], ..sequenced("orders", producer, 0, 0, &[]) };
        expecting(&[("a", expected)], run)
    };
    assert_eq!(refused(&publish(&mut clients, numbered(None)).await).0, "EXPECTATION_FAILED");
    assert_eq!(stands(&publish(&mut clients, numbered(Some(0))).await), [1]);
    assert!(appended(&publish(&mut clients, numbered(Some(0))).await).duplicate, "a repeat of the sequence");
    // Some of it is new: then the condition counts, and a key that says something else is named beside it.
    let mixed = request(vec![once("create", of("a", "1")), of("a", "3")]);
    assert_eq!(
        refused(&publish(&mut clients, expecting(&[("a", Some(0))], mixed.clone())).await).0,
        "EXPECTATION_FAILED"
    );
    assert_eq!(stands(&publish(&mut clients, expecting(&[("a", Some(1))], mixed)).await), [0, 2]);
    let reused = request(vec![once("create", of("a", "changed"))]);
    let named = vec!["events[0].idempotency_key", "expected_keys[0].last_offset"];
    assert_eq!(
        refused(&publish(&mut clients, expecting(&[("a", None)], reused)).await),
        ("IDEMPOTENCY_KEY_REUSED", named)
    );
    // All of it is known, and it has a sequence of its own.
    let run = v1::PublishRequest {
        events: vec![once("create", of("a", "1"))],
        ..sequenced("orders", Uuid::new_v4(), 0, 0, &[])
    };
    assert_eq!(stands(&publish(&mut clients, expecting(&[("a", None)], run)).await), [0]);
    assert_eq!(texts(&ground.database).await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_finds_the_partition_of_a_key_and_of_what_is_expected_of_it() {
    let (ground, _app, mut clients) = spine().await;
    // `us` goes to partition 1 of 2, `a` to partition 0.
    let routed = |expected: &[(&str, Option<i64>)], events| v1::PublishRequest {
        partition: None,
        ..expecting(expected, request(events))
    };
    let both = routed(&[("us", None), ("a", Some(0))], vec![of("us", "1"), of("a", "2")]);
    let results = clients.publisher.publish(both).await.expect("answered").into_inner().results;
    let mut outcomes = BTreeMap::new();
    for result in &results {
        let fields = match &result.outcome {
            Some(Outcome::Error(error)) => error.field_violations.iter().map(|found| found.field.clone()).collect(),
            _ => vec![format!("{:?}", stands(result))],
        };
        outcomes.insert(result.event_indexes.clone(), fields);
    }
    let told =
        BTreeMap::from([(vec![0], vec!["[0]".to_owned()]), (vec![1], vec!["expected_keys[1].last_offset".to_owned()])]);
    assert_eq!(outcomes, told);
    let elsewhere = routed(&[("a", None)], vec![of("us", "x")]);
    assert_eq!(reason(&clients.publisher.publish(elsewhere).await.expect_err("refused")), "INVALID_ARGUMENT");
    assert_eq!(texts(&ground.database).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stream_that_tracks_its_keys_can_be_asked_and_it_keeps_its_partitions() {
    let (ground, _app, mut clients) = spine().await;
    clients.create_stream("plain", 1).await;
    let plain = v1::PublishRequest { stream: "plain".into(), ..request(vec![of("a", "1")]) };
    let status = clients.publisher.publish(expecting(&[("a", None)], plain.clone())).await.expect_err("refused");
    assert_eq!((reason(&status).as_str(), status.code()), ("KEYS_NOT_TRACKED", tonic::Code::FailedPrecondition));
    let more =
        v1::AddPartitionsRequest { name: "orders".into(), partitions: 3, allow_key_remap: true, ..Default::default() };
    let status = clients.streams.add_partitions(more).await.expect_err("refused");
    assert_eq!(reason(&status), "KEY_REMAP_NOT_ALLOWED");
    assert!(status.message().contains("tracks its keys"), "{}", status.message());
    let stream = Some(v1::Stream { name: "orders".into(), ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["track_keys".into()] });
    let update = v1::UpdateStreamRequest { stream, update_mask, ..Default::default() };
    assert_eq!(reason(&clients.streams.update_stream(update).await.expect_err("refused")), "INVALID_ARGUMENT");
    let found = clients.streams.get_stream(v1::GetStreamRequest { name: "orders".into() }).await.expect("there");
    assert!(found.into_inner().stream.expect("a stream").track_keys);

    // Streams that do not track their keys never enter the function that does.
    let superuser = ground.database.connect().await;
    let gone = "alter function eventflow.track_keys_v1(bigint, bigint, text[]) rename to gone";
    superuser.batch_execute(gone).await.expect("renamed");
    assert_eq!(stands(&publish(&mut clients, plain).await), [0]);
    let with_key = publish(&mut clients, request(vec![of("a", "1")])).await;
    assert_eq!(error(&with_key).metadata["applied"], "no");
    assert_eq!(stands(&publish(&mut clients, request(vec![event("without a key")])).await), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_known_when_its_events_are_gone_and_no_longer_when_its_stream_is() {
    let (ground, app, mut clients) = spine().await;
    for number in 0..3 {
        let keys = (0..500).map(|key| of(&format!("k{key}"), &number.to_string()));
        publish(&mut clients, request(keys.collect())).await;
    }
    let superuser = ground.database.connect().await;
    let rows = "select count(*) from eventflow.key_position";
    let count: i64 = superuser.query_one(rows, &[]).await.expect("counted").get(0);
    assert_eq!(count, 500, "a row a key");
    let before = Some(v1::purge_stream_request::Before::Everything(true));
    let purge = v1::PurgeStreamRequest { name: "orders".into(), before, ..Default::default() };
    clients.streams.purge_stream(purge).await.expect("purged");
    Job::Retention.tick(app.store()).await.expect("reclaimed");
    let told = publish(&mut clients, expecting(&[("k7", None)], request(vec![of("k7", "x")]))).await;
    assert_eq!(error(&told).metadata["last_offset"], "1007");
    assert_eq!(
        stands(&publish(&mut clients, expecting(&[("k7", Some(1007))], request(vec![of("k7", "x")]))).await),
        [1500]
    );

    // Another organization has its own stream of that name, and another stream its own keys.
    let other = ground.key("other").await;
    let mut theirs = Clients::new(&app, &other).await;
    tracked(&mut theirs, 1).await;
    let told = publish(&mut theirs, expecting(&[("k7", Some(1500))], request(vec![of("k7", "x")]))).await;
    assert_eq!(refused(&told).0, "EXPECTATION_FAILED");
    assert_eq!(error(&told).metadata.get("last_offset"), None);
    assert_eq!(stands(&publish(&mut theirs, expecting(&[("k7", None)], request(vec![of("k7", "x")]))).await), [0]);
    let delete = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    clients.streams.delete_stream(delete).await.expect("deleted");
    for _ in 0..4 {
        Job::Retention.tick(app.store()).await.expect("reclaimed");
    }
    let count: i64 = superuser.query_one(rows, &[]).await.expect("counted").get(0);
    assert_eq!(count, 1, "keys go with their stream, and only they");
    tracked(&mut clients, 1).await;
    assert_eq!(stands(&publish(&mut clients, expecting(&[("k7", None)], request(vec![of("k7", "x")]))).await), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_is_not_what_was_expected_of_the_old_one() {
    let (ground, _app, mut clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut elsewhere = Clients::new(&other, &key).await;
    let routed =
        |expected| v1::PublishRequest { partition: None, ..expecting(&[("a", expected)], request(vec![of("a", "x")])) };
    assert_eq!(stands(&publish(&mut clients, routed(None)).await), [0]);
    let delete = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    elsewhere.streams.delete_stream(delete).await.expect("deleted");
    tracked(&mut elsewhere, 4).await;
    // The first broker still remembers the old one, and does not send what is expected of that to the new one.
    let result = publish(&mut clients, routed(Some(0))).await;
    assert_eq!(refused(&result).0, "STREAM_NOT_FOUND");
    assert_eq!(texts(&ground.database).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_keeps_order_after_an_expectation_that_failed() {
    let (ground, _app, mut clients) = spine().await;
    let producer = Uuid::new_v4();
    let run = |sequence, key: &str, expected: Option<i64>| {
        let events = vec![of(key, &format!("{sequence}{key}"))];
        expecting(&[(key, expected)], v1::PublishRequest { events, ..sequenced("orders", producer, 0, sequence, &[]) })
    };
    let requests = [
        run(0, "a", None),
        run(1, "b", None),
        run(2, "a", None), // refused: it has one
        run(3, "c", None), // behind it
        run(2, "a", Some(0)),
        run(3, "c", None),
        run(4, "c", Some(3)),
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
    assert_eq!(said, ["0", "1", "EXPECTATION_FAILED", "PRECEDING_FAILED", "2", "3", "4"]);
    assert_eq!(texts(&ground.database).await, ["0a", "1b", "2a", "3c", "4c"]);
}

/// A small generator of its own: the same requests every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_expected_of_keys_holds_where_a_model_says() {
    let (ground, _app, clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut brokers = [clients, Clients::new(&other, &key).await];
    let mut random = Random(11);
    let (mut last, mut known) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    let mut log: Vec<String> = Vec::new();
    let (producer, mut sequence) = (Uuid::new_v4(), 0);
    let mut outcomes = [0; 3];
    for round in 0..400 {
        let key = |random: &mut Random| format!("k{}", random.below(12));
        // Expectations, three of four of them right.
        let mut expected: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for _ in 0..random.below(4) {
            let key = key(&mut random);
            let right = last.get(&key).copied();
            let wrong = [None, Some(0), right.map(|offset| offset + 1)][random.below(3) as usize];
            expected.insert(key, if random.below(8) == 0 { wrong } else { right });
        }
        let (mut events, mut offsets, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..=random.below(3) {
            let (key, next) = (key(&mut random), (log.len() + fresh.len()) as i64);
            // Some have an idempotency key: of a dozen for each event key.
            let name = (random.below(3) == 0).then(|| format!("{key}-{}", random.below(12)));
            let text = name.clone().unwrap_or_else(|| format!("{round}-{place}"));
            let before = name.as_ref().and_then(|name| known.get(name).copied());
            let twice = events.iter().position(|event: &v1::Event| name.is_some() && event.idempotency_key == name);
            let stands = before.or_else(|| twice.map(|place| offsets[place])).unwrap_or(next);
            events.push(v1::Event { idempotency_key: name.clone(), ..of(&key, &text) });
            offsets.push(stands);
            if stands == next {
                fresh.push((key, name, text));
            }
        }
        let fails = expected.iter().any(|(key, offset)| last.get(key) != offset.as_ref());
        let expected: Vec<(&str, Option<i64>)> = expected.iter().map(|(key, offset)| (key.as_str(), *offset)).collect();
        let numbered = random.below(2) == 0;
        let count = events.len() as i64;
        let ask = if numbered { sequenced("orders", producer, 0, sequence, &[]) } else { request(Vec::new()) };
        let ask = expecting(&expected, v1::PublishRequest { events, ..ask });
        let clients = &mut brokers[random.below(2) as usize];
        let result = publish(clients, ask.clone()).await;
        if fails && !fresh.is_empty() {
            assert_eq!(refused(&result).0, "EXPECTATION_FAILED", "round {round}: {ask:?}");
            outcomes[0] += 1;
            continue;
        }
        assert_eq!(stands(&result), offsets, "round {round}: {ask:?}");
        outcomes[1 + usize::from(expected.is_empty())] += 1;
        for (key, name, text) in fresh {
            let offset = log.len() as i64;
            last.insert(key, offset);
            name.map(|name| known.insert(name, offset));
            log.push(text);
        }
        if numbered {
            let again = &mut brokers[random.below(2) as usize];
            assert_eq!(stands(&publish(again, ask).await), offsets, "round {round} again");
            sequence += count;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 20), "{outcomes:?}");
    assert_eq!(texts(&ground.database).await, log);
    let superuser = ground.database.connect().await;
    let rows = superuser.query("select key, last_offset from eventflow.key_position", &[]).await.expect("rows");
    let stored: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!((stored, rows.len()), (last.clone(), last.len()));
}

/// One of many who append to the same keys: most expect what they were told last, and say so in the payload.
async fn contend(mut clients: Clients, number: u64, rounds: u64) -> u64 {
    let mut random = Random(number);
    let mut believed: BTreeMap<String, Option<i64>> = BTreeMap::new();
    let (mut won, mut key) = (0, String::new());
    for round in 0..rounds {
        // Whoever was refused tries again.
        if key.is_empty() {
            key = format!("k{}", random.below(12));
        }
        if random.below(5) == 0 {
            publish(&mut clients, request(vec![of(&key, "anyhow"), of(&key, &format!("{number}-{round}"))])).await;
            continue;
        }
        let expected = believed.get(&key).copied().flatten();
        let says = format!("behind {}", expected.map_or("nothing".to_owned(), |offset| offset.to_string()));
        let ask = expecting(&[(&key, expected)], request(vec![of(&key, &says)]));
        let result = publish(&mut clients, ask).await;
        let stands = match &result.outcome {
            Some(Outcome::Appended(appended)) => Some(appended.base_offset),
            Some(Outcome::Error(error)) if error.reason == "EXPECTATION_FAILED" => {
                error.metadata.get("last_offset").map(|offset| offset.parse().expect("an offset"))
            }
            other => panic!("{other:?}"),
        };
        believed.insert(key.clone(), stands);
        if matches!(result.outcome, Some(Outcome::Appended(_))) {
            won += 1;
            key.clear();
        }
    }
    won
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_expect_the_same_of_a_key_over_two_brokers_one_gets_it() {
    let (ground, _app, clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let elsewhere = Clients::new(&other, &key).await;
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let clients = if number % 2 == 0 { clients.clone() } else { elsewhere.clone() };
        calls.spawn(contend(clients, number, 25));
    }
    let won: u64 = calls.join_all().await.into_iter().sum();
    let superuser = ground.database.connect().await;
    let sql = "select key, event_offset, convert_from(payload, 'UTF8') from eventflow.event where stream = 'orders' order by 2";
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut kept = 0;
    for row in superuser.query(sql, &[]).await.expect("the log") {
        let (key, offset, says): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
        let before = last.insert(key, offset).map_or("nothing".to_owned(), |offset| offset.to_string());
        if let Some(behind) = says.strip_prefix("behind ") {
            assert_eq!(behind, before, "the event at {offset}");
            kept += 1;
        }
    }
    assert_eq!(kept, won, "whoever was told so has appended, and nobody else");
    assert!(won > 20, "only {won} were appended");
}

/// A connection that breaks at `step` of an append with an expectation.
async fn broken_append(step: Step) {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let app = broker_at(&ground.database.through(proxy.address()).url(), &[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    tracked(&mut clients, 1).await;
    publish(&mut clients, request(vec![of("a", "1")])).await;
    let rule = proxy.on(Match::sql_contains("append_keyed_v1"), step, Action::Cut);
    let second = publish(&mut clients, expecting(&[("a", Some(0))], request(vec![of("a", "2")]))).await;
    rule.fired().await;
    assert_eq!(stands(&second), [1], "the broker's own repeat finds what it expected changed by itself");
    // An append without a condition, whose answer is lost, keeps the key up once.
    let rule = proxy.on(Match::sql_contains("append_v1"), step, Action::Cut);
    assert_eq!(stands(&publish(&mut clients, request(vec![of("a", "3")])).await), [2]);
    rule.fired().await;
    assert_eq!(stands(&publish(&mut clients, expecting(&[("a", Some(2))], request(vec![of("a", "4")]))).await), [3]);
    assert_eq!(texts(&ground.database).await, ["1", "2", "3", "4"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_an_expectation_that_never_reached_the_server_is_made_once() {
    broken_append(Step::BeforeForward).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_an_expectation_whose_answer_was_lost_is_made_once() {
    broken_append(Step::BeforeReply).await;
}
