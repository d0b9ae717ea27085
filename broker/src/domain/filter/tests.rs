use super::*;
use crate::domain::event::{Encoded, Encoder, Event, headers_text};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn encoded(event: &Event) -> Encoded {
    let mut encoder = Encoder::default();
    encoder.push(event.fields());
    encoder.finish()
}

fn order() -> Event {
    let headers = BTreeMap::from([("region".to_owned(), "eu".to_owned()), ("empty".to_owned(), String::new())]);
    Event {
        kind: "order.placed".into(),
        key: Some("customer-7".into()),
        headers: headers_text(&headers),
        content_type: "application/json".into(),
        payload: r#"{"total": 12.5, "paid": false, "note": null, "lines": [{"sku": "a\"b"}], "a b": 1, "type": "x"}"#
            .into(),
        ..Event::default()
    }
}

fn matches(text: &str, event: &Event) -> bool {
    let filter = Filter::parse("filter", text).unwrap_or_else(|error| panic!("{text}: {error:?}")).expect("a filter");
    filter.matches(&encoded(event).view(0).expect("a view"))
}

#[test]
fn a_filter_says_what_it_reads_like() {
    let event = order();
    for text in [
        r#"type == "order.placed""#,
        r#"type starts_with "order." and key ends_with "-7" and content_type contains "json""#,
        r#"header["region"] in ["us", "eu"] and header["empty"] == "" and header["none"] == null"#,
        "payload.total > 12 and payload.total <= 12.5 and payload.total < 1.3e1 and payload.total != 12",
        "payload.paid == false and not payload.paid == true and not not exists(payload.paid)",
        "exists(payload.lines) and not exists(payload.note) and payload.note == null and payload.gone == null",
        r#"payload.lines[0].sku == "a\"b" and payload.lines[0]["sku"] == 'a"b' and payload["a b"] >= 1"#,
        r#"payload.type == "x" or payload.gone.deeper[7] == 1"#,
        r#"(key == "x" or type == "order.placed") and key < "d" and key > "b""#,
        r#"not (payload.total in [1, 2, 3]) and 12.5 == payload.total"#,
        // `and` binds closer than `or`.
        r#"type == "order.placed" or type == "x" and key == "y""#,
    ] {
        assert!(matches(text, &event), "{text}");
        assert!(!matches(&format!("not ({text})"), &event), "not {text}");
    }
}

#[test]
fn what_is_missing_or_of_another_type_is_no_error_and_has_no_order() {
    let plain = Event { payload: "no json".into(), ..Event::default() };
    for (text, expected) in [
        ("key == null", true),
        ("key == \"\"", false),
        ("type == \"\"", true),
        ("payload.a == null", true),
        ("payload == null", true),
        ("payload.a < 1", false),
        ("payload.a != 1", true),
        ("key starts_with \"\"", false),
    ] {
        assert_eq!(matches(text, &plain), expected, "{text}");
    }
    let event = order();
    for text in
        ["payload.total == \"12.5\"", "payload.total > \"1\"", "payload.paid < 1", "payload.lines == payload.lines"]
    {
        assert!(!matches(text, &event), "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_by_its_position() {
    for (text, position, why) in [
        ("type = \"a\"", 6, "expected `==`"),
        ("typ == 1", 1, "expected `type`"),
        ("type == \"ä\" nd key == \"b\"", 13, "expected `and`"),
        ("type == \"a", 9, "does not end"),
        ("(type == \"a\"", 13, "expected `)`"),
        ("header.a == \"b\"", 7, "expected `[`"),
        ("payload[x] == 1", 9, "a text or an index"),
        ("payload. == 1", 10, "a name"),
        ("type == \"\\n\"", 12, "quotes"),
        ("key in []", 9, "expected `type`"),
        ("1e999 == key", 1, "a number"),
        ("and", 1, "expected `type`"),
        ("", 0, ""),
    ] {
        let parsed = Filter::parse("group.filter", text);
        if position == 0 {
            assert!(parsed.expect("nothing").is_none());
            continue;
        }
        let error = parsed.expect_err(text);
        assert_eq!(error.violations()[0].field, "group.filter");
        assert!(error.message().contains(&format!("character {position}: ")), "{text}: {error:?}");
        assert!(error.message().contains(why), "{text}: {error:?}");
    }
}

#[test]
fn length_depth_and_terms_are_bounded() {
    let refused = |text: String| Filter::parse("filter", &text).expect_err("refused").message().to_owned();
    assert!(refused(format!("key == \"{}\"", "x".repeat(limits::FILTER_BYTES_MAX))).contains("4096 bytes"));
    assert!(refused(format!("{}key == 1{}", "(".repeat(33), ")".repeat(33))).contains("32 deep"));
    assert!(refused(vec!["key==1"; 257].join(" or ")).contains("256 terms"));
    assert!(refused(format!("key in [{}]", vec!["1"; 300].join(","))).contains("256 terms"));
    assert!(Filter::parse("filter", &vec!["key==1"; 256].join(" or ")).is_ok());
    assert!(Filter::parse("filter", &format!("{}key == 1", "not ".repeat(900))).is_ok());
}

proptest! {
    #[test]
    fn no_text_and_no_event_makes_it_fail(
        text in "([a-z_]{1,8}|[ \"'.\\[\\]()=<>!,0-9-]|payload|type|and|or|not|in|==){0,24}", payload in ".{0,60}"
    ) {
        if let Ok(Some(filter)) = Filter::parse("filter", &text) {
            let event = encoded(&Event { payload: payload.into(), ..Event::default() });
            filter.matches(&event.view(0).expect("a view"));
        }
    }
}
