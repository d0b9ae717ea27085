use super::*;
use crate::domain::Reason;
use eventflow_proto::v1::position::At;
use prost_types::{Duration, FieldMask};

fn request(group: v1::ConsumerGroup, at: Option<At>) -> v1::CreateConsumerGroupRequest {
    let start = at.map(|at| v1::Position { at: Some(at) });
    v1::CreateConsumerGroupRequest { group: Some(group), start, ..Default::default() }
}

fn plain() -> v1::ConsumerGroup {
    v1::ConsumerGroup { name: "billing".to_owned(), stream: "orders".to_owned(), ..Default::default() }
}

fn field_of(error: &Error) -> &str {
    assert_eq!(error.reason(), Reason::InvalidArgument);
    &error.violations()[0].field
}

#[test]
fn a_plain_group_gets_the_defaults() {
    let new = new_group(request(plain(), None)).expect("a group");
    assert_eq!((new.start, new.on_truncated, new.drain_ms), (Start::Earliest, OnTruncated::Continue, 10_000));
    let new = new_group(request(plain(), Some(At::Latest(true)))).expect("a group");
    assert_eq!(new.start, Start::Latest);
}

#[test]
fn each_bad_field_is_named() {
    let drain = |seconds, nanos| Some(Duration { seconds, nanos });
    let bad = [
        ("group.name", v1::ConsumerGroup { name: "a b".to_owned(), ..plain() }),
        ("group.stream", v1::ConsumerGroup { stream: String::new(), ..plain() }),
        ("group.description", v1::ConsumerGroup { description: "\0".to_owned(), ..plain() }),
        ("group.delivery_mode", v1::ConsumerGroup { delivery_mode: 7, ..plain() }),
        ("group.on_truncated", v1::ConsumerGroup { on_truncated: 7, ..plain() }),
        ("group.drain_timeout", v1::ConsumerGroup { drain_timeout: drain(301, 0), ..plain() }),
        ("group.drain_timeout", v1::ConsumerGroup { drain_timeout: drain(0, -1_000), ..plain() }),
        ("group.labels[\"\"]", v1::ConsumerGroup { labels: [(String::new(), String::new())].into(), ..plain() }),
    ];
    for (field, group) in bad {
        assert_eq!(field_of(&new_group(request(group, None)).expect_err(field)), field);
    }
    let error = new_group(request(plain(), Some(At::Offset(1)))).expect_err("an offset");
    assert_eq!(field_of(&error), "start.offset");
}

#[test]
fn an_update_changes_what_the_mask_names_and_nothing_else() {
    let change = |path: &str| {
        let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
        group_change(&v1::UpdateConsumerGroupRequest { group: Some(plain()), update_mask, ..Default::default() })
    };
    let (_, only) = change("drain_timeout").expect("one path");
    assert!(only.drain_ms == Some(10_000) && only.labels.is_none() && only.description.is_none());
    for bad in ["stream", "paused", "name"] {
        assert_eq!(field_of(&change(bad).expect_err(bad)), "update_mask");
    }
}

#[test]
fn a_seek_to_an_offset_needs_its_partition() {
    let to = |at| Some(v1::Position { at: Some(at) });
    let request = |partition, to| v1::SeekRequest { name: "billing".to_owned(), partition, to, ..Default::default() };
    assert_eq!(seek(&request(Some(1), to(At::Offset(5)))).expect("a seek").to, Position::Offset(5));
    assert_eq!(field_of(&seek(&request(None, to(At::Offset(5)))).expect_err("no partition")), "partition");
    assert_eq!(field_of(&seek(&request(None, None)).expect_err("nowhere")), "to");
}
