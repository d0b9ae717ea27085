use super::*;
use crate::publish::terms::{Expected, ExpectedKey};
use bytes::Bytes;

fn work(partition: i64, producer: Option<(u128, i64)>, events: usize) -> Work {
    sized(partition, producer, events, 10)
}

fn sized(partition: i64, producer: Option<(u128, i64)>, events: usize, bytes: usize) -> Work {
    let events: Vec<Event> =
        (0..events).map(|_| Event { payload: Bytes::from(vec![7; bytes]), ..Event::default() }).collect();
    let mut encoder = Encoder::default();
    events.iter().for_each(|event| encoder.push(event.fields()));
    Work {
        organization: OrganizationId(1),
        partition: PartitionId(partition),
        producer: producer.map(|(id, first_sequence)| Producer { id: Uuid::from_u128(id), epoch: 0, first_sequence }),
        publisher: "key:one".into(),
        routing_version: 1,
        events,
        encoded: encoder.finish(),
        alone: false,
        after_refusal: false,
        terms: None,
    }
}

fn plan_of(works: &[Work]) -> Plan {
    plan(&works.iter().collect::<Vec<_>>(), &LaneProducer::default())
}

#[test]
fn sequences_that_follow_are_one_run_and_others_wait_in_order() {
    let works = [
        work(1, Some((9, 0)), 3),
        work(1, Some((9, 3)), 2),
        work(1, Some((9, 0)), 3), // a repeat
        work(1, Some((9, 5)), 1), // would follow, but must not overtake
        work(1, Some((8, 0)), 1),
    ];
    let plan = plan_of(&works);
    assert_eq!(plan.deferred, [2, 3]);
    assert_eq!(plan.runs.len(), 2);
    assert_eq!(plan.runs[0].works, [0, 1]);
    assert_eq!(plan.runs[0].run.event_count, 5);
}

#[test]
fn partitions_stand_in_ascending_order_and_rows_never_span_them() {
    let works = [work(5, None, 2), work(3, None, 2), work(5, None, 1)];
    let plan = plan_of(&works);
    let partitions: Vec<i64> = plan.rows.iter().map(|row| row.partition.0).collect();
    assert_eq!(partitions, [3, 5]);
    assert_eq!(plan.rows[1].encoded.ends.len(), 3);
}

#[test]
fn rows_are_bounded_in_events_and_bytes_but_an_event_is_never_cut() {
    let works =
        [work(1, Some((9, 0)), ROW_EVENTS_MAX + 1), sized(2, None, 3, ROW_BYTES_MAX / 2), sized(3, None, 1, 3 << 20)];
    let plan = plan_of(&works);
    let counts: Vec<(i64, usize)> = plan.rows.iter().map(|row| (row.partition.0, row.encoded.ends.len())).collect();
    assert_eq!(counts, [(1, ROW_EVENTS_MAX), (1, 1), (2, 1), (2, 1), (2, 1), (3, 1)]);
    let refs: Vec<&Work> = works.iter().collect();
    let second = plan.rows[1].to_row(&plan, &refs);
    assert_eq!(second.pieces[0].first_sequence, ROW_EVENTS_MAX as i64);
    assert_eq!(second.pieces[0].event_count, 1);
}

#[test]
fn a_row_of_several_submissions_holds_their_events_and_runs_in_order() {
    let works = [work(1, Some((9, 0)), 2), work(1, Some((8, 4)), 1), work(1, Some((9, 2)), 1)];
    let plan = plan_of(&works);
    let refs: Vec<&Work> = works.iter().collect();
    let row = plan.rows[0].to_row(&plan, &refs);
    assert_eq!(row.events.len(), 4);
    let pieces: Vec<(u128, i64, i32)> =
        row.pieces.iter().map(|piece| (piece.producer.as_u128(), piece.first_sequence, piece.event_count)).collect();
    assert_eq!(pieces, [(9, 0, 3), (8, 4, 1)]);
    assert_eq!(row.crc, plan.rows[0].publishers.crc(plan.rows[0].encoded.crc()));
    assert_eq!(row.publishers.event_count(), 4);
}

#[test]
fn a_submission_that_must_stand_alone_is_not_merged() {
    let mut works = [work(1, Some((9, 0)), 2), work(1, Some((9, 2)), 1)];
    works[0].alone = true;
    assert_eq!(plan_of(&works).deferred, [1]);
}

#[test]
fn duplicate_ranges_are_cut_to_each_submission() {
    let ranges = [(100, 3), (200, 4)];
    assert_eq!(cut_ranges(&ranges, 0, 2), [(100, 2)]);
    assert_eq!(cut_ranges(&ranges, 2, 3), [(102, 1), (200, 2)]);
    assert_eq!(cut_ranges(&ranges, 5, 2), [(202, 2)]);
}

/// A submission with one event of a key, which may expect something of keys.
fn of_key(producer: Option<(u128, i64)>, key: &str, expected: &[&str]) -> Work {
    let mut work = work(1, producer, 1);
    work.events[0].key = Some(key.into());
    let keys = expected.iter().enumerate();
    let keys = keys.map(|(index, key)| ExpectedKey { index, key: (*key).into(), last_offset: Some(3) }).collect();
    work.terms = Terms::of(&work.events, Expected { next_offset: None, keys }, || None).expect("fine");
    work
}

#[test]
fn many_may_expect_something_of_keys_but_nothing_changes_them_before_in_the_same_flush() {
    let works = [
        of_key(Some((9, 0)), "a", &["a"]),
        of_key(Some((8, 0)), "b", &["b", "c"]),
        of_key(Some((7, 0)), "d", &["b"]), // somebody before it writes `b`
        of_key(Some((6, 0)), "c", &[]),    // might come to stand before the second one
        of_key(Some((9, 1)), "e", &["e"]),
        of_key(Some((7, 1)), "f", &[]), // behind the third one
    ];
    let plan = plan_of(&works);
    assert_eq!(plan.deferred, [2, 3, 5]);
    let last: Vec<Vec<(usize, usize)>> =
        plan.runs.iter().map(|run| run.last.iter().map(|last| (last.work, last.index)).collect()).collect();
    assert_eq!(last, [vec![(0, 0), (4, 0)], vec![(1, 0), (1, 1)]]);
    assert!(plan.has_terms());
    let refs: Vec<&Work> = works.iter().collect();
    let sent: Vec<(i32, &str)> = plan.to_last(&refs).iter().map(|last| (last.run, last.key)).collect();
    assert_eq!(sent, [(1, "a"), (1, "e"), (2, "b"), (2, "c")]);
}
