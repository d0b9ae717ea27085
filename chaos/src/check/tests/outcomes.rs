//! Shared groups: attempts, outcomes, dead letters.
//!
//! The clean history, and group 1, shared, over the five events of the other stream: the first two are acknowledged, the third is
//! at its second attempt, the fourth fails three times, the fifth gets more time and is given up then.

use super::*;

const GIVEN: u32 = 11;
const LAST: u32 = 12;

fn dealt(s: u32, attempt: u32, epoch: u64, off: i64, count: u32, t: Micros) -> Record {
    let (class, reason) =
        if attempt > 1 { ("chaos".to_owned(), token(s, attempt - 1)) } else { (String::new(), String::new()) };
    Record::Deliver(Deliver {
        g: 1,
        s,
        k: OTHER,
        t,
        epoch: 0,
        off,
        runs: vec![Run(3, off as u64, count)],
        next: off + i64::from(count),
        bad: vec![],
        dealt: Some(Dealt { attempt, epoch, again: attempt > 1, class, reason }),
    })
}

fn settle(s: u32, attempt: u32, epoch: u64, off: i64, verdict: Said, t0: Micros) -> Settle {
    let (by, reason) = (if verdict == Said::Extend { 3_000_000 } else { 0 }, String::new());
    let (count, outcome) = (1, Outcome::Ok);
    let again = attempt > 1;
    Settle { g: 1, s, k: OTHER, t0, t1: t0 + 10, epoch, attempt, again, off, count, verdict, by, outcome, reason }
}

fn dead(off: i64, attempts: u32) -> Left {
    let failed = |attempt| FailedAttempt {
        attempt,
        member: "hand".into(),
        class: "chaos".into(),
        reason: token(GIVEN, attempt),
    };
    let history = (1..=attempts).map(failed).collect();
    Left { g: 1, k: OTHER, off, dead: true, attempts, history, runs: vec![Run(3, off as u64, 1)], bad: vec![] }
}

fn shared() -> Vec<Record> {
    use Said::{Ack, Extend, GiveUp, Nack};
    let mut records = clean();
    each!(records, Setup, |setup| setup.groups.push(Group {
        stream: 1,
        name: "shared".into(),
        seen: false,
        shared: Some(3),
        key_order: false,
    }));
    for (s, reason) in [(GIVEN, "the stream ended"), (LAST, "dropped")] {
        let name = if s == GIVEN { "hand" } else { "other" }.to_owned();
        records.push(Record::Seat(Seat { g: 1, s, t: 1, name }));
        records.push(Record::Ended(Ended { g: 1, s, t: 390_000, reason: reason.into() }));
    }
    records.push(dealt(GIVEN, 1, 10, 0, 5, 300_000));
    records.push(Record::Settle(Settle { count: 2, ..settle(GIVEN, 1, 10, 0, Ack, 301_000) }));
    for (off, verdict) in [(2, Nack), (3, Nack), (4, Extend), (4, GiveUp)] {
        records.push(Record::Settle(settle(GIVEN, 1, 10, off, verdict, 302_000)));
    }
    records.push(dealt(GIVEN, 2, 1, 2, 1, 303_000));
    records.push(Record::Settle(settle(GIVEN, 2, 1, 2, Ack, 304_000)));
    for attempt in [2, 3] {
        records.push(dealt(GIVEN, attempt, u64::from(attempt) - 1, 3, 1, 305_000 + u64::from(attempt) * 1_000));
        records.push(Record::Settle(settle(
            GIVEN,
            attempt,
            u64::from(attempt) - 1,
            3,
            Nack,
            305_500 + u64::from(attempt) * 1_000,
        )));
    }
    records.push(Record::Left(dead(3, 3)));
    records.push(Record::Left(dead(4, 1)));
    records.push(Record::Progress(Progress { g: 1, k: OTHER, off: 5, epoch: 12 }));
    records
}

fn ids(change: impl FnOnce(&mut Vec<Record>)) -> Vec<&'static str> {
    let mut records = shared();
    change(&mut records);
    let report = check(&records);
    report.findings.ids()
}

/// Drops what was said of an event at an attempt.
fn unsaid(records: &mut Vec<Record>, off: i64, attempt: u32) {
    records
        .retain(|record| !matches!(record, Record::Settle(settle) if settle.off == off && settle.attempt == attempt));
}

#[test]
fn a_clean_history_of_a_shared_group_is_green() {
    let report = check(&shared());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.void.is_empty(), "{:?}", report.void);
    let totals = &report.totals;
    assert_eq!((totals.nacks, totals.retried, totals.dead_letters, totals.redelivered), (5, 3, 2, 100));
}

#[test]
fn s14_two_dead_letters_of_an_event_are_caught() {
    assert_eq!(ids(|records| records.push(Record::Left(dead(3, 3)))), ["S14"]);
    assert!(ids(|records| records.push(Record::Left(Left { dead: false, ..dead(3, 2) }))).contains(&"S14"));
}

#[test]
fn s14_a_missing_dead_letter_is_caught() {
    let missing = ids(|records| records.retain(|record| !matches!(record, Record::Left(left) if left.off == 3)));
    assert_eq!(missing, ["S14", "S9"]);
}

#[test]
fn s14_what_comes_after_an_acknowledgement_is_caught() {
    assert_eq!(ids(|records| records.push(dealt(LAST, 1, 11, 0, 1, 307_000))), ["S14"]);
    assert_eq!(ids(|records| records.push(Record::Left(dead(2, 3)))), ["S14"]);
    // One that was on its way when another had it already.
    assert!(ids(|records| records.push(dealt(LAST, 1, 9, 0, 1, 307_000))).is_empty());
}

#[test]
fn s14_what_comes_after_the_last_failure_is_caught() {
    let again = |records: &mut Vec<Record>| records.push(dealt(GIVEN, 3, 3, 3, 1, 307_000));
    assert_eq!(ids(again), ["S14"]);
    let given_up = |records: &mut Vec<Record>| records.push(dealt(LAST, 1, 11, 4, 1, 307_000));
    assert_eq!(ids(given_up), ["S14"]);
}

#[test]
fn s14_a_failure_that_is_not_counted_is_caught() {
    let uncounted = ids(|records| records.push(dealt(LAST, 1, 11, 2, 1, 302_500)));
    assert!(uncounted.contains(&"S14"), "{uncounted:?}");
    let forgotten = ids(|records| {
        each!(records, Left, |left| if left.off == 3 {
            left.history.remove(1);
        })
    });
    assert_eq!(forgotten, ["S14"]);
}

#[test]
fn s14_an_attempt_that_goes_back_or_beyond_is_caught() {
    let back = ids(|records| {
        each!(records, Deliver, |deliver| if deliver.off == 3 {
            let swapped = deliver.dealt.as_mut().filter(|dealt| dealt.attempt > 1);
            swapped.into_iter().for_each(|dealt| dealt.epoch = 10 - dealt.epoch);
        })
    });
    assert!(back.contains(&"S14"), "{back:?}");
    let beyond = |class: &str| {
        ids(|records| {
            let Record::Deliver(mut deliver) = dealt(LAST, 4, 9, 2, 1, 303_500) else { unreachable!() };
            deliver.dealt.iter_mut().for_each(|dealt| (dealt.class, dealt.reason) = (class.into(), "lost".into()));
            each!(records, Settle, |settle| if settle.off == 2 {
                settle.outcome = Outcome::Info
            });
            records.push(Record::Deliver(deliver));
        })
    };
    assert_eq!(beyond("deadline"), ["S14"]);
    assert!(beyond("stream_lost").is_empty(), "what only lost streams have charged is tried once more");
}

#[test]
fn s14_a_charge_that_nobody_made_is_caught() {
    assert_eq!(ids(|records| unsaid(records, 2, 1)), ["S14"], "the second attempt says that the first failed");
    let refused = |records: &mut Vec<Record>| {
        each!(records, Settle, |settle| if settle.off == 2 && settle.attempt == 1 {
            settle.outcome = Outcome::Fail
        })
    };
    assert_eq!(ids(refused), ["S14"]);
    let in_doubt = |records: &mut Vec<Record>| {
        each!(records, Settle, |settle| if settle.off == 2 && settle.attempt == 1 {
            settle.outcome = Outcome::Info
        })
    };
    assert!(ids(in_doubt).is_empty());
}

#[test]
fn s14_a_lost_stream_that_was_none_is_caught() {
    let charged = |member: &str| {
        ids(|records| {
            unsaid(records, 3, 2);
            each!(records, Left, |left| if left.off == 3 {
                let failed = &mut left.history[1];
                (failed.class, failed.member) = ("stream_lost".into(), member.into());
            });
            each!(records, Deliver, |deliver| if deliver.off == 3 {
                let last = deliver.dealt.as_mut().filter(|dealt| dealt.attempt == 3);
                last.into_iter().for_each(|dealt| dealt.class = "stream_lost".into());
            });
        })
    };
    assert_eq!(charged("hand"), ["S14"], "its broker had ended it in order");
    assert!(charged("other").is_empty());
}

#[test]
fn s14_a_dead_letter_before_its_time_is_caught() {
    let early = ids(|records| {
        each!(records, Settle, |settle| if settle.verdict == Said::GiveUp {
            settle.verdict = Said::Nack
        })
    });
    assert_eq!(early, ["S14"]);
}

#[test]
fn s14_a_stale_or_a_second_outcome_that_is_taken_is_caught() {
    let stale = |t0| {
        ids(|records| {
            records.push(dealt(LAST, 1, 11, 2, 1, 301_500));
            unsaid(records, 2, 1);
            unsaid(records, 2, 2);
            records
                .retain(|record| !matches!(record, Record::Deliver(deliver) if deliver.off == 2 && deliver.s == GIVEN));
            records.push(Record::Settle(settle(LAST, 1, 11, 2, Said::Ack, 302_000)));
            let late = Settle { outcome: Outcome::Fail, ..settle(GIVEN, 1, 10, 2, Said::Ack, t0) };
            records.push(Record::Settle(late));
        })
    };
    assert!(stale(303_000).is_empty(), "it was refused");
    let taken = ids(|records| {
        records.push(dealt(LAST, 2, 2, 2, 1, 303_100));
        each!(records, Settle, |settle| if settle.off == 2 && settle.attempt == 2 {
            settle.verdict = Said::Nack
        });
        unsaid(records, 2, 1);
    });
    assert!(taken.contains(&"S14"), "{taken:?}");
    let twice = ids(|records| records.push(Record::Settle(settle(LAST, 2, 1, 2, Said::Ack, 304_500))));
    assert_eq!(twice, ["S14"]);
}

#[test]
fn s14_an_event_that_was_given_more_time_and_is_charged_before_it_is_over_is_caught() {
    let charged = |extended: Micros, t: Micros| {
        ids(|records| {
            records.retain(|record| !matches!(record, Record::Left(left) if left.off == 4));
            each!(records, Settle, |settle| match settle.verdict {
                Said::GiveUp => (settle.verdict, settle.outcome) = (Said::Ack, Outcome::Info),
                Said::Extend => settle.t0 = extended,
                _ => {}
            });
            let Record::Deliver(mut deliver) = dealt(LAST, 2, 1, 4, 1, t) else { unreachable!() };
            deliver.dealt.iter_mut().for_each(|dealt| dealt.class = "deadline".into());
            records.push(Record::Deliver(deliver));
        })
    };
    assert_eq!(charged(9_000_000, 11_999_000), ["S14"]);
    assert!(charged(9_000_000, 12_000_001).is_empty());
    assert!(charged(302_000, 3_301_000).is_empty(), "among faults, another broker's deadline may have passed");
}

#[test]
fn s4_a_copy_that_is_not_the_event_is_caught() {
    let other = |records: &mut Vec<Record>| {
        each!(records, Left, |left| if left.off == 3 {
            left.runs = vec![Run(3, 4, 1)]
        })
    };
    assert_eq!(ids(other), ["S4"]);
    let damaged =
        |records: &mut Vec<Record>| each!(records, Left, |left| left.bad = vec![Bad(3, "a flipped bit".into())]);
    assert_eq!(ids(damaged), ["S4"]);
}

#[test]
fn s9_an_event_that_is_done_and_that_nobody_acknowledged_is_caught() {
    // A nack in doubt that took the event away, and left nothing.
    let vanished = ids(|records| {
        records.retain(|record| !matches!(record, Record::Deliver(deliver) if deliver.off == 2));
        unsaid(records, 2, 2);
        each!(records, Settle, |settle| if settle.off == 2 {
            settle.outcome = Outcome::Info
        });
    });
    assert_eq!(vanished, ["S9"]);
    // The same above the lowest event that is not done.
    let above = ids(|records| {
        records.retain(|record| !matches!(record, Record::Deliver(deliver) if deliver.off == 2));
        records.retain(|record| !matches!(record, Record::Phase(phase) if phase.name == Step::Drained));
        unsaid(records, 2, 1);
        unsaid(records, 2, 2);
        each!(records, Progress, |progress| if progress.g == 1 {
            progress.off = 0
        });
        records.push(Record::Claim(Claim { g: 1, k: OTHER, from: 0, to: 5, done: vec![(2, 3)] }));
    });
    assert_eq!(above, ["S9"]);
}

#[test]
fn l1_what_is_never_settled_is_caught() {
    let open = ids(|records| {
        each!(records, Progress, |progress| if progress.g == 1 {
            progress.off = 4
        })
    });
    assert_eq!(open, ["L1"]);
    let waits = ids(|records| {
        unsaid(records, 3, 3);
        each!(records, Left, |left| if left.off == 3 {
            *left = Left { dead: false, ..dead(3, 2) }
        })
    });
    assert_eq!(waits, ["L1"]);
}

#[test]
fn a_run_in_which_nothing_failed_is_void_when_it_should_have() {
    let mut records = shared();
    each!(records, Setup, |setup| setup.outcomes_wanted = true);
    let publish = |key: &str, outcome, reason: &str| {
        let (key, reason) = (key.to_owned(), reason.to_owned());
        Record::Publish(Publish { outcome, reason, key, at: vec![], ..publish(3, 90, 1, 0, 250_000) })
    };
    records.push(publish("a", Outcome::Info, ""));
    let Record::Publish(other) = publish("a", Outcome::Fail, "IDEMPOTENCY_KEY_REUSED") else { unreachable!() };
    records.push(Record::Publish(Publish { run: Run(3, 91, 1), ..other }));
    let (call, code) = ("GetStream".to_owned(), "UNAUTHENTICATED".to_owned());
    records.push(Record::Revoke(Revoke { key: 1, t0: 1, t1: 2, outcome: Outcome::Ok }));
    records.push(Record::Use(Use { key: 1, t0: 3, t1: 4, call, code }));
    let whole = check(&records);
    assert_eq!(whole.verdict(), Verdict::Green, "{:?} {:?}", whole.findings, whole.void);
    for gone in [
        (|record| matches!(record, Record::Settle(_))) as fn(&Record) -> bool,
        |record| matches!(record, Record::Left(_)),
        |record| matches!(record, Record::Use(_)),
        |record| matches!(record, Record::Publish(publish) if !publish.key.is_empty()),
    ] {
        let less: Vec<Record> = records.iter().filter(|record| !gone(record)).cloned().collect();
        assert!(!check(&less).void.is_empty());
    }
}
