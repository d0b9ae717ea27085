//! What becomes of events that rules fail on.

use super::{
    arrived, counted, create, dead_letters, header, impatient, in_effect, publish, publish_json, redact, route, rule,
    settled, spine, stored,
};
use crate::support::{event, reason, text};
use eventflow_proto::v1::{self, OnFailure};

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
