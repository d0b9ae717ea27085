use super::apply::{HOPS, Processed, SOURCE, Source, apply};
use super::redact::{Field, redact};
use super::{Action, Rule};
use crate::domain::event::{Encoded, Encoder, Event, headers_text, parse_headers};
use crate::domain::filter::Filter;
use crate::domain::ids::{PartitionId, RuleId, RuleName, StreamName};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn stream(name: &str) -> StreamName {
    StreamName::parse("stream", name).expect("a name")
}

fn rule(id: i64, filter: &str, action: Action) -> Rule {
    Rule {
        id: RuleId(id),
        stream: stream("orders"),
        name: RuleName::parse("name", &format!("r{id}")).expect("a name"),
        description: String::new(),
        position: id as u32,
        disabled: false,
        filter: Filter::parse("filter", filter).expect("parses"),
        action,
        version: 1,
        created_at: 0,
        updated_at: 0,
    }
}

fn route(to: &str) -> Action {
    Action::Route { stream: stream(to) }
}

fn encoded(event: &Event) -> Encoded {
    let mut encoder = Encoder::default();
    encoder.push(event.fields());
    encoder.finish()
}

fn applied(rules: &[Rule], event: &Event) -> Processed {
    let encoded = encoded(event);
    let stream = stream("orders");
    let source = Source {
        stream: &stream,
        partition: 3,
        partition_id: PartitionId(7),
        offset: 12,
        appended_at_us: 99,
        encoded: &encoded,
        index: 0,
    };
    apply(rules, &source)
}

fn paid(payload: &'static str) -> Event {
    Event { kind: "order.paid".into(), payload: payload.into(), ..Event::default() }
}

fn redacted(text: &str, fields: &[&str]) -> Result<Option<String>, String> {
    let fields: Vec<Field> = fields.iter().map(|field| Field::parse("fields", field).expect("a pointer")).collect();
    let redacted = redact(&text.to_owned().into(), &fields)?;
    Ok(redacted.map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8")))
}

#[test]
fn what_a_rule_changes_those_behind_it_see_and_copies_are_taken_in_between() {
    let set = BTreeMap::from([("seen".to_owned(), "yes".to_owned())]);
    let rules = [
        rule(1, "", route("before")),
        rule(2, "type == \"order.paid\"", Action::Headers { set, remove: vec!["gone".into()] }),
        rule(3, "header[\"seen\"] == \"yes\"", route("behind")),
        rule(4, "header[\"seen\"] == \"yes\"", Action::Drop),
        rule(5, "", route("never")),
    ];
    let headers = headers_text(&BTreeMap::from([("gone".to_owned(), "1".to_owned())]));
    let processed = applied(&rules, &Event { headers, ..paid("{}") });
    assert_eq!((processed.asked, processed.matched.as_slice()), (4, [0, 1, 2, 3].as_slice()));
    assert!(processed.dropped && processed.failure.is_none());
    let targets: Vec<&str> = processed.copies.iter().map(|copy| copy.stream.as_str()).collect();
    assert_eq!(targets, ["before", "behind"]);
    let headers = |at: usize| parse_headers(processed.copies[at].event.headers.as_deref().expect("headers"));
    assert_eq!((headers(0).get("gone").map(String::as_str), headers(0).get("seen")), (Some("1"), None));
    assert_eq!((headers(1).get("gone"), headers(1).get("seen").map(String::as_str)), (None, Some("yes")));
}

#[test]
fn a_copy_keeps_what_the_event_is_and_says_where_it_comes_from() {
    let processed = applied(&[rule(5, "", route("copies"))], &paid("{}"));
    let copy = &processed.copies[0].event;
    assert_eq!((copy.id.as_deref(), copy.time_us), (Some("3-12"), Some(99)));
    assert_eq!(copy.idempotency_key.as_deref(), Some("eventflow/rule/5/7/12"));
    let headers = parse_headers(copy.headers.as_deref().expect("headers"));
    assert_eq!((headers[SOURCE].as_str(), headers[HOPS].as_str()), ("orders/3@12", "1"));
    // Again from there, until it is enough.
    let mut event = copy.clone();
    for hops in 2..=8 {
        event = applied(&[rule(5, "", route("copies"))], &event).copies.remove(0).event;
        assert_eq!(parse_headers(event.headers.as_deref().expect("headers"))[HOPS], hops.to_string());
    }
    let failure = applied(&[rule(5, "", route("copies"))], &event).failure.expect("a failure");
    assert_eq!((failure.rule, failure.class), (0, "TOO_MANY_HOPS"));
}

#[test]
fn a_rule_that_is_off_is_as_if_it_were_not_there_and_a_failure_ends_the_rest() {
    let mask = || Action::redact("fields", &["/card".to_owned()]).expect("a field");
    let rules =
        [Rule { disabled: true, ..rule(1, "", Action::Drop) }, rule(2, "", mask()), rule(3, "", route("copies"))];
    let processed = applied(&rules, &paid("{\"card\": 1}"));
    assert_eq!((processed.matched.as_slice(), processed.copies.len()), ([1, 2].as_slice(), 1));
    assert_eq!(processed.copies[0].event.payload, "{\"card\": \"[redacted]\"}");
    let failed = applied(&rules, &paid("no JSON"));
    assert_eq!((failed.copies.len(), failed.asked), (0, 2));
    assert_eq!(failed.failure.expect("a failure").class, "NOT_JSON");
}

#[test]
fn a_pointer_names_members_elements_and_all_of_them() {
    let text = r#"{ "a" : {"b": [1, {"c": 2}, [3]]}, "a~/b": null, "*": true }"#;
    for (field, expected) in [
        ("/a/b/1/c", r#"{ "a" : {"b": [1, {"c": "[redacted]"}, [3]]}, "a~/b": null, "*": true }"#),
        ("/a/b/*", r#"{ "a" : {"b": ["[redacted]", "[redacted]", "[redacted]"]}, "a~/b": null, "*": true }"#),
        ("/a", r#"{ "a" : "[redacted]", "a~/b": null, "*": true }"#),
        ("/a~0~1b", r#"{ "a" : {"b": [1, {"c": 2}, [3]]}, "a~/b": "[redacted]", "*": true }"#),
        ("/*/b/2/0", r#"{ "a" : {"b": [1, {"c": 2}, ["[redacted]"]]}, "a~/b": null, "*": true }"#),
    ] {
        assert_eq!(redacted(text, &[field]), Ok(Some(expected.to_owned())), "{field}");
    }
    assert_eq!(redacted(text, &["/b", "/a/c", "/a/b/7"]), Ok(None));
    assert_eq!(redacted("", &["/a"]), Ok(None), "nothing is there to be redacted");
    assert!(Field::parse("fields", "a").is_err() && Field::parse("fields", "").is_err());
}

#[test]
fn names_that_come_twice_or_with_escapes_are_redacted_too() {
    let redacted = redacted(r#"{"card": 1, "c\u0061rd": "x\"}", "card": {"card": 2}}"#, &["/card"]);
    let expected = r#"{"card": "[redacted]", "c\u0061rd": "[redacted]", "card": "[redacted]"}"#;
    assert_eq!(redacted, Ok(Some(expected.to_owned())));
}

#[test]
fn what_is_no_json_or_too_deep_is_refused() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for bad in ["no", "{", "{\"a\": 1} x", "[1,]", "{\"a\" 1}", deep.as_str()] {
        assert!(redacted(bad, &["/a"]).is_err(), "{bad}");
    }
    let far = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(redacted(&far, &["/a"]).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c\"\\\\ü]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"\\\\]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What redacting means, on values.
fn replace(value: &mut Value, path: &[&str]) {
    let Some((step, rest)) = path.split_first() else {
        *value = json!("[redacted]");
        return;
    };
    match value {
        Value::Object(members) => {
            let led = members.iter_mut().filter(|(name, _)| *step == "*" || name.as_str() == *step);
            led.for_each(|(_, inner)| replace(inner, rest));
        }
        Value::Array(elements) => {
            let led = elements.iter_mut().enumerate().filter(|(at, _)| *step == "*" || at.to_string() == *step);
            led.for_each(|(_, inner)| replace(inner, rest));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn redacting_a_text_is_redacting_its_value(
        value in any_json(), path in proptest::collection::vec("[a-c]|\\*|0|1", 1..4), pretty in any::<bool>(),
    ) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let mut expected = value.clone();
        replace(&mut expected, &steps);
        let redacted = redacted(&text, &[&format!("/{}", steps.join("/"))]).expect("JSON");
        let found: Value = serde_json::from_str(redacted.as_deref().unwrap_or(&text)).expect("JSON still");
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(redacted.is_none(), expected == value && !text.contains("[redacted]"));
    }
}
