//! The order of keys in shared groups that keep it.
//!
//! The clean history, and group 1, in order, over a third stream of one partition with a dozen events of a producer with keys. Numbers
//! 0, 4 and 8 are of one key: the first fails once and is acknowledged at its second attempt, the second waited for that and comes
//! by itself, the third comes from a claim. Everything else is acknowledged as it comes.

use super::*;

const JOBS: Key = Key(2, 0);
const EVENTS: u32 = 12;
const FIRST: i64 = 0;
const SECOND: i64 = 4;
const THIRD: i64 = 8;

fn given(s: u32, off: i64, count: u32, t: Micros, (attempt, again, epoch): (u32, bool, u64)) -> Record {
    let (class, reason) =
        if attempt > 1 { ("chaos".to_owned(), token(s, attempt - 1)) } else { (String::new(), String::new()) };
    Record::Deliver(Deliver {
        g: 1,
        s,
        k: JOBS,
        t,
        epoch: 0,
        off,
        runs: vec![Run(9, off as u64, count)],
        next: off + i64::from(count),
        bad: vec![],
        dealt: Some(Dealt { attempt, epoch, again, class, reason }),
    })
}

fn said(s: u32, off: i64, count: u32, t0: Micros, (attempt, again, epoch): (u32, bool, u64), verdict: Said) -> Record {
    let (outcome, reason) = (Outcome::Ok, String::new());
    let by = 0;
    let t1 = t0 + 10;
    Record::Settle(Settle { g: 1, s, k: JOBS, t0, t1, epoch, attempt, again, off, count, verdict, by, outcome, reason })
}

const CLAIMED: (u32, bool, u64) = (1, false, 10);
const CLAIMED_LATER: (u32, bool, u64) = (1, false, 11);
const PARKED: (u32, bool, u64) = (1, true, 1);
const RETRIED: (u32, bool, u64) = (2, true, 1);

fn in_order() -> Vec<Record> {
    let mut records = clean();
    each!(records, Setup, |setup| {
        setup.streams.push(Stream { organization: 0, name: "jobs".into(), partitions: 1 });
        setup.groups.push(Group { stream: 2, name: "ordered".into(), shared: Some(3), key_order: true, seen: false });
    });
    records.push(Record::Producer(Producer { p: 9, kind: ProducerKind::Keyed, stream: 2 }));
    for number in 0..EVENTS {
        records.push(Record::Publish(Publish {
            run: Run(9, number.into(), 1),
            k: JOBS,
            key: number.to_string(),
            ..publish(1, 0, 1, number.into(), 200_000 + u64::from(number))
        }));
    }
    for (s, name) in [(21, "one"), (22, "two")] {
        records.push(Record::Seat(Seat { g: 1, s, t: 250_000, name: name.into() }));
    }
    // The first event of each key, then the second of all but one, then the third.
    records.push(given(21, FIRST, 4, 300_000, CLAIMED));
    records.push(said(21, FIRST, 1, 300_100, CLAIMED, Said::Nack));
    records.push(said(21, 1, 3, 300_100, CLAIMED, Said::Ack));
    records.push(given(22, 5, 3, 300_200, CLAIMED));
    records.push(said(22, 5, 3, 300_300, CLAIMED, Said::Ack));
    records.push(given(21, 9, 3, 300_400, CLAIMED));
    records.push(said(21, 9, 3, 300_500, CLAIMED, Said::Ack));
    records.push(given(22, FIRST, 1, 350_000, RETRIED));
    records.push(said(22, FIRST, 1, 350_100, RETRIED, Said::Ack));
    records.push(given(21, SECOND, 1, 350_200, PARKED));
    records.push(said(21, SECOND, 1, 350_300, PARKED, Said::Ack));
    records.push(given(22, THIRD, 1, 350_400, CLAIMED_LATER));
    records.push(said(22, THIRD, 1, 350_500, CLAIMED_LATER, Said::Ack));
    each!(records, Deliver, |deliver| if deliver.s == 22 && deliver.off == FIRST {
        let dealt = deliver.dealt.as_mut();
        dealt.into_iter().for_each(|dealt| dealt.reason = token(21, 1));
    });
    let runs = vec![Run(9, 0, EVENTS)];
    records.push(Record::Row(Row { k: JOBS, off: 0, count: EVENTS, before: 0, appended: 9, runs, bad: vec![] }));
    records.push(Record::Bounds(Bounds { k: JOBS, floor: 0, head: EVENTS.into() }));
    records.push(Record::Progress(Progress { g: 1, k: JOBS, off: EVENTS.into(), epoch: 12 }));
    records
}

fn ids(change: impl FnOnce(&mut Vec<Record>)) -> Vec<&'static str> {
    let mut records = in_order();
    change(&mut records);
    check(&records).findings.ids()
}

/// Changes the deliveries of an event, and what was said of it.
fn moved(records: &mut [Record], off: i64, came: Micros, settled: Micros) {
    each!(records, Deliver, |deliver| if deliver.g == 1 && deliver.off == off {
        deliver.t = came
    });
    each!(records, Settle, |settle| if settle.off == off {
        settle.t0 = settled
    });
}

#[test]
fn a_clean_history_of_a_group_that_keeps_the_order_of_keys_is_green() {
    let report = check(&in_order());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.void.is_empty(), "{:?}", report.void);
    assert_eq!(report.totals.waited, 1);
}

#[test]
fn a_history_in_which_nothing_waited_for_its_key_is_void() {
    let mut records = in_order();
    each!(records, Deliver, |deliver| if deliver.off == SECOND && deliver.g == 1 {
        let dealt = deliver.dealt.as_mut();
        dealt.into_iter().for_each(|dealt| (dealt.again, dealt.epoch) = (false, 10));
    });
    assert_eq!(check(&records).void, ["no event waited for an earlier one of its key"]);
}

#[test]
fn s23_an_event_that_comes_while_an_earlier_one_of_its_key_is_tried_again_is_caught() {
    assert_eq!(ids(|records| moved(records, SECOND, 300_150, 350_300)), ["S23"]);
    // What is of another key may.
    assert!(ids(|records| moved(records, 5, 300_150, 300_300)).is_empty());
}

#[test]
fn s23_an_event_that_comes_while_an_earlier_one_of_its_key_is_with_somebody_is_caught() {
    assert_eq!(ids(|records| moved(records, SECOND, 350_050, 350_300)), ["S23"]);
}

#[test]
fn s23_an_event_that_comes_before_one_that_was_passed_over_is_caught() {
    let passed = ids(|records| {
        records.retain(|record| !matches!(record, Record::Settle(settle) if settle.off == FIRST));
        records.retain(|record| !matches!(record, Record::Deliver(deliver) if deliver.g == 1 && deliver.off == FIRST));
    });
    assert!(passed.contains(&"S23"), "{passed:?}");
}

#[test]
fn s23_a_word_that_was_refused_lets_nothing_go_and_one_in_doubt_may() {
    let heard = |outcome, reason: &str| {
        ids(|records| {
            each!(records, Settle, |settle| if settle.off == SECOND {
                (settle.outcome, settle.reason) = (outcome, reason.to_owned())
            })
        })
    };
    for refused in ["EVENT_NOT_IN_FLIGHT", "ACK_DEADLINE_PASSED", "SEEK_FENCED"] {
        assert!(heard(Outcome::Fail, refused).contains(&"S23"), "{refused}");
    }
    assert!(heard(Outcome::Info, "no answer").is_empty());
}

#[test]
fn s23_a_word_that_the_database_fenced_may_have_let_a_key_go_and_does_not_settle_what_comes_again() {
    let again = |settled: Micros| {
        ids(|records| {
            // The first holder of keys 1 and 5 lost its claim before its words were written; the next one has both again.
            each!(records, Settle, |settle| if settle.off == 1 || settle.off == 5 {
                (settle.outcome, settle.reason) = (Outcome::Fail, "MEMBER_FENCED".to_owned())
            });
            records.push(given(22, 1, 1, 360_000, CLAIMED_LATER));
            records.push(said(22, 1, 1, settled, CLAIMED_LATER, Said::Ack));
            records.push(given(21, 5, 1, 360_200, CLAIMED_LATER));
            records.push(said(21, 5, 1, 360_300, CLAIMED_LATER, Said::Ack));
        })
    };
    assert!(!again(360_100).contains(&"S23"), "{:?}", again(360_100));
    assert!(again(360_250).contains(&"S23"));
}

#[test]
fn s23_an_event_that_is_dead_without_a_word_lets_others_go() {
    let dead = |class: &str| {
        let failed = (1..=3).map(|attempt| FailedAttempt {
            attempt,
            member: "one".into(),
            class: class.into(),
            reason: token(21, attempt),
        });
        let left = Left {
            g: 1,
            k: JOBS,
            off: SECOND,
            dead: true,
            attempts: 3,
            history: failed.collect(),
            runs: vec![Run(9, SECOND as u64, 1)],
            bad: vec![],
        };
        ids(|records| {
            records.retain(|record| !matches!(record, Record::Settle(settle) if settle.off == SECOND));
            records.push(Record::Left(left));
        })
    };
    assert!(dead("deadline").is_empty());
    assert!(dead("chaos").contains(&"S23"), "somebody's word is its end, and nobody said one");
}

#[test]
fn s23_an_event_that_comes_again_before_an_earlier_one_that_came_again_is_settled_is_caught() {
    let again = |settled: Micros| {
        ids(|records| {
            // Nobody knows what became of the first words, and the next holder goes on from the first of them.
            each!(records, Settle, |settle| if settle.off == 5 || settle.off == 9 {
                settle.outcome = Outcome::Info
            });
            records.push(given(22, 5, 1, 360_000, CLAIMED_LATER));
            records.push(said(22, 5, 1, settled, CLAIMED_LATER, Said::Ack));
            records.push(given(21, 9, 1, 360_200, CLAIMED_LATER));
            records.push(said(21, 9, 1, 360_300, CLAIMED_LATER, Said::Ack));
        })
    };
    assert!(again(360_100).is_empty());
    assert_eq!(again(360_250), ["S23"]);
}

#[test]
fn s23_a_session_that_gets_an_event_with_an_earlier_one_of_its_key_in_hand_is_caught() {
    let again = |s| {
        ids(|records| {
            each!(records, Settle, |settle| if settle.off == 1 || settle.off == 5 {
                settle.outcome = Outcome::Info
            });
            // A retry that comes late is with another session, and what it is worth cannot be told from times.
            records.push(given(21, 1, 1, 360_000, (2, true, 1)));
            records.push(given(s, 5, 1, 360_100, CLAIMED_LATER));
        })
    };
    assert!(again(21).contains(&"S23"));
    assert!(!again(22).contains(&"S23"));
}
