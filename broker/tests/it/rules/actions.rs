//! What each action does.

use super::{
    arrived, counted, create, header, in_effect, publish, publish_json, redact, route, rule, settled, spine, status,
    stored, update,
};
use crate::support::{Clients, event, text};
use eventflow_proto::v1::{self, rule::Action};
use std::collections::{BTreeMap, BTreeSet};

fn headers(set: &[(&str, &str)], remove: &[&str]) -> Action {
    let set: BTreeMap<String, String> = set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Action::Headers(v1::RuleHeaders {
        set: set.into_iter().collect(),
        remove: remove.iter().map(|name| (*name).into()).collect(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_does_what_it_says_and_the_stream_stays_as_it_is() {
    let (_ground, _app, mut clients) = spine(2).await;
    clients.create_stream("masked", 1).await;
    create(&mut clients, rule("seen", "type != \"probe\"", Action::Pass(v1::RulePass {}))).await;
    create(&mut clients, rule("raw", "type == \"order.paid\"", route("copies"))).await;
    create(&mut clients, rule("no-tests", "header[\"test\"] == \"yes\"", Action::Drop(v1::RuleDrop {}))).await;
    create(&mut clients, rule("mark", "", headers(&[("seen-by", "rules")], &["internal"]))).await;
    create(&mut clients, rule("mask", "", redact(&["/card/number", "/items/*/price"]))).await;
    // What is masked is not seen behind it.
    create(&mut clients, rule("masked", "payload.card.number == \"[redacted]\"", route("masked"))).await;

    in_effect(&mut clients).await;

    let head = |name: &str, value: &str| v1::Header { name: name.into(), value: value.into() };
    let paid = r#"{"card": {"number": "4111", "name": "A"},  "total": 12345678901234567890.10, "items": [{"price": 1}, {"price": {"net": 2}}]}"#;
    let order = v1::Event {
        id: Some("order-1".into()),
        r#type: "order.paid".into(),
        key: Some("customer".into()),
        headers: vec![head("internal", "x"), head("tenant", "acme")],
        content_type: "application/json".into(),
        ..event(paid)
    };
    let test = v1::Event { headers: vec![head("test", "yes")], ..order.clone() };
    publish(&mut clients, vec![order.clone(), test]).await;

    let raw = arrived(&mut clients, "copies", 2).await;
    assert!(raw.iter().all(|copy| text(copy) == paid && copy.key.as_deref() == Some("customer")), "{raw:?}");
    let masked = arrived(&mut clients, "masked", 1).await;
    let copy = &masked[0];
    assert_eq!(
        text(copy),
        r#"{"card": {"number": "[redacted]", "name": "A"},  "total": 12345678901234567890.10, "items": [{"price": "[redacted]"}, {"price": "[redacted]"}]}"#
    );
    assert_eq!((copy.id.as_deref(), copy.r#type.as_str()), (Some("order-1"), "order.paid"));
    assert_eq!((header(copy, "internal"), header(copy, "tenant")), (None, Some("acme")));
    assert_eq!((header(copy, "seen-by"), header(copy, "eventflow-rule")), (Some("rules"), Some("masked")));
    assert_eq!(header(copy, "eventflow-hops"), Some("1"));
    let source = header(copy, "eventflow-source").expect("a source");
    assert!(source.starts_with("orders/") && source.contains('@'), "{source}");
    settled(&mut clients).await;
    assert_eq!(stored(&mut clients, "masked").await.len(), 1, "what was dropped is seen by no later rule");
    let original = stored(&mut clients, "orders").await;
    let original: Vec<&v1::Event> = original.iter().filter(|event| event.r#type == "order.paid").collect();
    assert!(original.iter().all(|event| text(event) == paid && header(event, "seen-by").is_none()), "{original:?}");

    // Probes may have been processed by the rules of before the probe: only what matches is counted for certain.
    let seen = counted(&mut clients, "seen", |rule| rule.matched_events == 2).await;
    assert_eq!((seen.copied_events, seen.failed_attempts), (0, 0));
    counted(&mut clients, "no-tests", |rule| rule.matched_events == 1).await;
    let last = counted(&mut clients, "masked", |rule| rule.copied_events == 1).await;
    assert_eq!(last.matched_events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_asked_in_their_order_and_can_be_moved() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    let first = v1::Rule { position: 1, ..rule("mask", "", redact(&["/secret"])) };
    assert_eq!(create(&mut clients, first).await.position, 1);
    in_effect(&mut clients).await;
    publish_json(&mut clients, &[("a", r#"{"secret": 1}"#)]).await;
    assert_eq!(text(&arrived(&mut clients, "copies", 1).await[0]), r#"{"secret": "[redacted]"}"#);

    let moved = v1::Rule { position: 3, ..rule("mask", "", redact(&["/secret"])) };
    assert_eq!(update(&mut clients, moved, &["position"]).await.position, 3);
    let names = clients.rules.list_rules(v1::ListRulesRequest { stream: "orders".into() }).await.expect("a list");
    let names: Vec<(String, u32)> =
        names.into_inner().rules.into_iter().map(|rule| (rule.name, rule.position)).collect();
    assert_eq!(names, [("probe".to_owned(), 1), ("copy".to_owned(), 2), ("mask".to_owned(), 3)]);
    // A broker hears of it within a second; until then it may still mask.
    let mut count = 1;
    loop {
        // poll
        publish_json(&mut clients, &[("a", r#"{"secret": 2}"#)]).await;
        count += 1;
        let copies = arrived(&mut clients, "copies", count).await;
        if text(copies.last().expect("a copy")) == r#"{"secret": 2}"# {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_switched_off_does_nothing_until_it_is_switched_on() {
    let (_ground, _app, mut clients) = spine(1).await;
    let off = v1::Rule { disabled: true, ..rule("copy", "", route("copies")) };
    create(&mut clients, off).await;
    publish_json(&mut clients, &[("a", "1")]).await;
    settled(&mut clients).await;
    let enable = v1::EnableRuleRequest { stream: "orders".into(), name: "copy".into(), ..Default::default() };
    assert!(!clients.rules.enable_rule(enable).await.expect("on").into_inner().rule.expect("a rule").disabled);
    until_copied(&mut clients).await;
    let copies: BTreeSet<String> = stored(&mut clients, "copies").await.iter().map(text).collect();
    assert_eq!(copies, BTreeSet::from(["probe".to_owned()]), "events from before are not looked at again");
    let disable = v1::DisableRuleRequest { stream: "orders".into(), name: "copy".into(), ..Default::default() };
    assert!(clients.rules.disable_rule(disable).await.expect("off").into_inner().rule.expect("a rule").disabled);
}

/// Publishes until something is copied.
async fn until_copied(clients: &mut Clients) {
    let before = stored(clients, "copies").await.len();
    loop {
        // poll
        publish_json(clients, &[("a", "probe")]).await;
        settled(clients).await;
        if stored(clients, "copies").await.len() > before {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_rules_change_every_event_is_copied_once_and_in_the_order_of_its_key() {
    const EVENTS: usize = 600;
    let (_ground, _app, mut clients) = spine(4).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    let mut other = clients.clone();
    let publishing = async {
        for number in 0..EVENTS {
            publish_json(&mut clients, &[(&format!("k{}", number % 7), &format!("{{\"n\": {number}}}"))]).await;
        }
    };
    let changing = async {
        for round in 0..12 {
            let filter = if round % 2 == 0 { "exists(payload.n)" } else { "" };
            update(&mut other, rule("copy", filter, route("copies")), &["filter"]).await;
            let mark = headers(&[("round", &round.to_string())], &[]);
            let changed = v1::Rule { position: 1, ..rule(&format!("mark-{round}"), "", mark) };
            create(&mut other, changed).await;
        }
    };
    tokio::join!(publishing, changing);
    settled(&mut clients).await;
    let copies = stored(&mut clients, "copies").await;
    let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for copy in &copies {
        let number: serde_json::Value = serde_json::from_str(&text(copy)).expect("JSON");
        let number = number["n"].as_u64().expect("a number") as usize;
        by_key.entry(copy.key.clone().expect("a key")).or_default().push(number);
    }
    for (key, numbers) in by_key {
        let expected: Vec<usize> = (0..EVENTS).filter(|number| format!("k{}", number % 7) == key).collect();
        assert_eq!(numbers, expected, "{key}");
    }
    assert_eq!(status(&mut clients).await.rules.len(), 13);
}
