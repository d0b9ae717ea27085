//! What becomes of events that rules fail on.

use super::{
    arrived, counted, create, dead_letters, header, impatient, in_effect, publish, publish_json, redact, route, rule,
    settled, spine, stored,
};
use crate::support::{Clients, event, reason, text};
use eventflow_broker::domain::quota::Quota;
use eventflow_broker::store::quotas;
use eventflow_proto::v1::{self, OnFailure};
use eventflow_testkit::within;
use tonic_types::StatusExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_whose_stream_is_missing_fails_no_publish_and_its_events_become_dead_letters() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "", route("nowhere"))).await;
    impatient(&mut clients, OnFailure::Block).await;
    publish_json(&mut clients, &[("a", "1"), ("a", "2")]).await;
    let dead = dead_letters(&mut clients, 2).await;
    let said = "rule `copy`: stream `nowhere`: stream `nowhere` does not exist";
    assert!(dead.iter().all(|letter| letter.reason.starts_with(said)), "{dead:?}");
    assert!(dead.iter().all(|letter| letter.error_class == "STREAM_NOT_FOUND" && letter.attempts == 4), "{dead:?}");
    let counts = counted(&mut clients, "copy", |rule| rule.failed_attempts == 8).await;
    assert!(counts.last_failure.starts_with(said) && counts.last_failure_time.is_some(), "{counts:?}");
    assert_eq!(super::status(&mut clients).await.dead_letters, 2);

    // The group stays for the sake of what failed, when its last rule goes.
    clients.create_stream("nowhere", 1).await;
    let redrive = v1::RedriveDeadLettersRequest { group: "rules.orders".into(), ..Default::default() };
    clients.dead_letters.redrive_dead_letters(redrive).await.expect("given back");
    let mut copies: Vec<String> = arrived(&mut clients, "nowhere", 2).await.iter().map(text).collect();
    copies.sort_unstable();
    assert_eq!(copies, ["1", "2"]);
    settled(&mut clients).await;
    assert_eq!(super::status(&mut clients).await.dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_schema_refuses_becomes_a_dead_letter_and_the_others_are_copied_in_order() {
    let (_ground, _app, mut clients) = spine(1).await;
    let register = v1::RegisterSchemaRequest {
        stream: "copies".into(),
        definition: r#"{"type": "number"}"#.into(),
        ..Default::default()
    };
    clients.schemas.register_schema(register).await.expect("registered");
    create(&mut clients, rule("copy", "", route("copies"))).await;
    publish_json(&mut clients, &[("a", "1"), ("a", "2"), ("a", "\"three\""), ("a", "4"), ("b", "5")]).await;
    let dead = dead_letters(&mut clients, 1).await;
    assert_eq!((dead[0].error_class.as_str(), dead[0].attempts), ("SCHEMA_VIOLATION", 3));
    assert!(dead[0].reason.contains("stream `copies`"), "{}", dead[0].reason);
    settled(&mut clients).await;
    let copies: Vec<String> = stored(&mut clients, "copies").await.iter().map(text).collect();
    assert_eq!(copies, ["1", "2", "4", "5"]);
}

/// Until a publish is refused, by which quota; what is appended meanwhile is of type `probe`.
async fn refused_by(clients: &mut Clients) -> String {
    let probe = || v1::Event { r#type: "probe".into(), ..event("{}") };
    let request = || v1::PublishRequest { stream: "orders".into(), events: vec![probe()], ..Default::default() };
    let look = async {
        loop {
            // poll: brokers hear of a quota, and count what is stored, every few seconds
            if let Err(status) = clients.publisher.publish(request()).await {
                return status.get_details_error_info().expect("an ErrorInfo").metadata["quota"].clone();
            }
        }
    };
    within("a refusal", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_count_against_the_rate_of_their_organization_and_wait_for_it_without_failing() {
    let (ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "type != \"probe\"", route("copies"))).await;
    in_effect(&mut clients).await;
    let database = ground.database.connect().await;
    assert!(quotas::set(&database, "acme", "", Quota::EventsPerSecond, Some(10)).await.expect("set"));
    assert_eq!(refused_by(&mut clients).await, "events_per_second");

    // Let through when the reserve is full; then the copies have to wait until what it owes is paid, and owe as much themselves.
    let whole = async {
        let texts: Vec<String> = (0..60).map(|n| n.to_string()).collect();
        let events: Vec<v1::Event> = texts.iter().map(|text| event(text)).collect();
        let request = || v1::PublishRequest { stream: "orders".into(), events: events.clone(), ..Default::default() };
        // poll: until there is a reserve again
        while clients.publisher.publish(request()).await.is_err() {}
        texts
    };
    let texts = within("a reserve", whole).await;
    let copies: Vec<String> = arrived(&mut clients, "copies", 60).await.iter().map(text).collect();
    assert_eq!(copies, texts, "all of them, in their order");
    assert_eq!(refused_by(&mut clients).await, "events_per_second", "by what was copied");
    let status = settled(&mut clients).await;
    assert_eq!((status.dead_letters, status.retries), (0, 0));
    assert!(status.rules.iter().all(|rule| rule.failed_attempts == 0), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_without_room_become_dead_letters_and_are_made_once_there_is_room() {
    let (ground, _app, mut clients) = spine(1).await;
    publish_json(&mut clients, &[("a", "1"), ("a", "2"), ("b", "3")]).await;
    let database = ground.database.connect().await;
    assert!(quotas::set(&database, "acme", "", Quota::StoredBytes, Some(1)).await.expect("set"));
    assert_eq!(refused_by(&mut clients).await, "stored_bytes");
    create(&mut clients, rule("copy", "type != \"probe\"", route("copies"))).await;
    impatient(&mut clients, OnFailure::Skip).await;
    let name = || "rules.orders".to_owned();
    let beginning = Some(v1::Position { at: Some(v1::position::At::Earliest(true)) });
    let seek = v1::SeekRequest { name: name(), to: beginning, ..Default::default() };
    clients.groups.seek(seek).await.expect("moved");

    let dead = dead_letters(&mut clients, 3).await;
    assert!(dead.iter().all(|letter| letter.error_class == "QUOTA_EXCEEDED" && letter.attempts == 4), "{dead:?}");
    assert!(dead.iter().all(|letter| letter.reason.starts_with("rule `copy`: stream `copies`: ")), "{dead:?}");
    assert!(stored(&mut clients, "copies").await.is_empty());

    assert_eq!(quotas::clear(&database, "acme", "", None).await.expect("cleared"), Some(1));
    let room = async {
        // poll: as above
        while clients
            .publisher
            .publish(v1::PublishRequest {
                stream: "orders".into(),
                events: vec![v1::Event { r#type: "probe".into(), ..event("{}") }],
                ..Default::default()
            })
            .await
            .is_err()
        {}
    };
    within("room again", room).await;
    let redrive = v1::RedriveDeadLettersRequest { group: name(), ..Default::default() };
    clients.dead_letters.redrive_dead_letters(redrive).await.expect("given back");
    let mut copies: Vec<String> = arrived(&mut clients, "copies", 3).await.iter().map(text).collect();
    copies.sort_unstable();
    assert_eq!(copies, ["1", "2", "3"]);
    settled(&mut clients).await;
    assert_eq!(super::status(&mut clients).await.dead_letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_skip_the_others_go_on_while_one_waits() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("lost", "payload.n == 2", route("nowhere"))).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    impatient(&mut clients, OnFailure::Skip).await;
    in_effect(&mut clients).await;
    publish_json(&mut clients, &[("a", r#"{"n": 1}"#), ("a", r#"{"n": 2}"#), ("a", r#"{"n": 3}"#)]).await;
    let dead = dead_letters(&mut clients, 1).await;
    assert!(dead[0].reason.starts_with("rule `lost`: "), "{}", dead[0].reason);
    settled(&mut clients).await;
    let copies: Vec<String> = stored(&mut clients, "copies").await.iter().map(text).collect();
    let each_once = [r#"{"n": 1}"#, r#"{"n": 2}"#, r#"{"n": 3}"#];
    assert_eq!(copies, each_once, "what another rule copied of it is there once, however often it was tried");
    assert_eq!(dead.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_redacted_goes_nowhere() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("mask", "", redact(&["/secret"]))).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    in_effect(&mut clients).await;
    publish(&mut clients, vec![event("secret, and no JSON"), event(r#"{"\u0073ecret": 1, "secret": 2}"#)]).await;
    let dead = dead_letters(&mut clients, 1).await;
    assert_eq!((dead[0].error_class.as_str(), dead[0].attempts), ("NOT_JSON", 3));
    settled(&mut clients).await;
    let copies: Vec<String> = stored(&mut clients, "copies").await.iter().map(text).collect();
    assert_eq!(copies, [r#"{"\u0073ecret": "[redacted]", "secret": "[redacted]"}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_route_in_a_circle_end_after_eight_rules() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("there", "", route("copies"))).await;
    let back = v1::Rule { stream: "copies".into(), ..rule("back", "", route("orders")) };
    create(&mut clients, back).await;
    publish_json(&mut clients, &[("a", "round")]).await;
    // 1 is published; of the 8 copies 4 come back, and the last of them is copied no more.
    let dead = dead_letters(&mut clients, 1).await;
    assert_eq!(dead[0].error_class, "TOO_MANY_HOPS");
    let (orders, copies) = (stored(&mut clients, "orders").await, stored(&mut clients, "copies").await);
    assert_eq!((orders.len(), copies.len()), (5, 4));
    assert_eq!(header(orders.last().expect("one"), "eventflow-hops"), Some("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_broker_uses_the_keys_of_copies() {
    let (_ground, _app, mut clients) = spine(1).await;
    let forged = v1::Event { idempotency_key: Some("eventflow/rule/1/1/0".into()), ..event("x") };
    let request = v1::PublishRequest { stream: "copies".into(), events: vec![forged], ..Default::default() };
    let status = clients.publisher.publish(request).await.expect_err("refused");
    assert_eq!(reason(&status), "INVALID_ARGUMENT");
    assert!(status.message().contains("events[0].idempotency_key"), "{}", status.message());
}
