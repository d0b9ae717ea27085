use super::*;
use crate::domain::Reason;
use prost_types::{Duration, FieldMask, Timestamp};

fn named(name: &str) -> v1::Stream {
    v1::Stream { name: name.to_owned(), ..Default::default() }
}

fn field_of(error: &Error) -> &str {
    assert_eq!(error.reason(), Reason::InvalidArgument);
    &error.violations()[0].field
}

#[test]
fn a_plain_stream_gets_the_defaults() {
    let new = new_stream(Some(named("orders"))).expect("a stream");
    let plain = NewStream::plain(new.name.clone());
    assert_eq!((new.partitions, new.max_event_bytes, new.retention), (8, 1_048_576, plain.retention));
    assert_eq!((plain.partitions, plain.max_event_bytes), (8, 1_048_576));
}

fn aged(seconds: i64, nanos: i32) -> v1::Stream {
    let max_age = Some(Duration { seconds, nanos });
    let retention = Some(v1::Retention { max_age, ..Default::default() });
    v1::Stream { retention, ..named("a") }
}

#[test]
fn each_bad_field_is_named() {
    let bytes = v1::Retention { max_bytes_per_partition: u64::MAX, ..Default::default() };
    let labels = [("x".to_owned(), "v".repeat(257))].into();
    let bad = [
        ("stream.name", named("Orders")),
        ("stream.partitions", v1::Stream { partitions: 1_025, ..named("a") }),
        ("stream.description", v1::Stream { description: "d".repeat(1_025), ..named("a") }),
        ("stream.max_event_bytes", v1::Stream { max_event_bytes: 3_145_729, ..named("a") }),
        ("stream.labels[\"x\"]", v1::Stream { labels, ..named("a") }),
        ("stream.retention.max_age", aged(-1, 0)),
        ("stream.retention.max_age", aged(0, 999)),
        ("stream.retention.max_age", aged(36_501 * 86_400, 0)),
        ("stream.retention.max_bytes_per_partition", v1::Stream { retention: Some(bytes), ..named("a") }),
    ];
    for (field, stream) in bad {
        assert_eq!(field_of(&new_stream(Some(stream)).expect_err(field)), field);
    }
    assert_eq!(field_of(&new_stream(None).expect_err("absent")), "stream");
}

#[test]
fn an_update_changes_what_the_mask_names_and_nothing_else() {
    let change = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let stream = v1::Stream { description: "new".to_owned(), ..named("orders") };
        let update_mask = Some(FieldMask { paths });
        stream_change(&v1::UpdateStreamRequest { stream: Some(stream), update_mask, ..Default::default() })
    };
    let (name, only) = change(&["description"]).expect("one path");
    assert_eq!((name.as_str(), only.description.as_deref()), ("orders", Some("new")));
    assert!(only.labels.is_none() && only.max_age_us.is_none() && only.max_bytes.is_none());
    let (_, retention) = change(&["retention"]).expect("a message");
    assert!(retention.max_age_us.is_some() && retention.max_bytes.is_some() && retention.description.is_none());
    for bad in ["name", "partitions", "retention.max", "*", ""] {
        let error = change(&[bad]).expect_err(bad);
        assert!(field_of(&error) == "update_mask" && error.message().contains(&format!("`{bad}`")), "{error:?}");
    }
}

#[test]
fn a_purge_says_up_to_where() {
    let with = |partition, before| {
        purge(&v1::PurgeStreamRequest { name: "orders".to_owned(), partition, before, ..Default::default() })
    };
    assert_eq!(with(Some(0), Some(Before::Offset(0))).expect("an offset").before, PurgeBefore::Offset(0));
    assert_eq!(with(None, Some(Before::Everything(true))).expect("everything").before, PurgeBefore::Everything);
    let late = Timestamp { seconds: i64::MAX, nanos: 0 };
    for (field, partition, before) in [
        ("partition", None, Some(Before::Offset(1))),
        ("offset", Some(0), Some(Before::Offset(-1))),
        ("everything", None, Some(Before::Everything(false))),
        ("time", None, Some(Before::Time(late))),
        ("before", None, None),
    ] {
        assert_eq!(field_of(&with(partition, before).expect_err(field)), field);
    }
}
