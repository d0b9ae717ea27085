//! Idempotency keys, and credentials that were revoked.

use super::*;

/// The clean history, and two events with keys at the end of the other stream, one of them repeated.
fn keyed() -> Vec<Record> {
    let mut records = clean();
    records.push(Record::Producer(Producer { p: 4, kind: ProducerKind::Keyed, stream: 1 }));
    for number in 0..2 {
        records.push(Record::Publish(of_key(number, number, 210_000 + number * 100)));
    }
    records.push(Record::Publish(Publish { repeat: true, duplicate: true, ..of_key(0, 0, 220_000) }));
    let (outcome, reason) = (Outcome::Fail, "IDEMPOTENCY_KEY_REUSED".to_owned());
    records.push(Record::Publish(Publish { outcome, reason, at: vec![], ..of_key(2, 0, 230_000) }));
    let runs = vec![Run(4, 0, 2)];
    records.push(Record::Row(Row { k: OTHER, off: 5, count: 2, before: 5, appended: 10, runs, bad: vec![] }));
    each!(records, Bounds, |bounds| if bounds.k == OTHER {
        bounds.head = 7
    });
    records
}

/// Number `number` of the keyed producer, under the key of another number.
fn of_key(number: u64, key: u64, t0: Micros) -> Publish {
    let at = vec![(5 + number as i64, 1)];
    Publish { k: OTHER, key: format!("key-{key}"), at, ..publish(4, number, 1, 0, t0) }
}

fn ids(change: impl FnOnce(&mut Vec<Record>)) -> Vec<&'static str> {
    let mut records = keyed();
    change(&mut records);
    check(&records).findings.ids()
}

#[test]
fn a_clean_history_of_keys_is_green() {
    assert!(ids(|_| {}).is_empty());
    let totals = check(&keyed()).totals;
    assert_eq!(totals.keys_repeated, 2);
}

#[test]
fn s15_a_repeat_with_another_answer_is_caught() {
    let other = ids(|records| {
        each!(records, Publish, |publish| if publish.repeat {
            publish.at = vec![(6, 1)]
        })
    });
    assert!(other.contains(&"S15"), "{other:?}");
}

#[test]
fn s15_another_content_that_is_taken_is_caught() {
    let taken = ids(|records| {
        each!(records, Publish, |publish| if publish.outcome == Outcome::Fail {
            (publish.outcome, publish.reason, publish.at) = (Outcome::Ok, String::new(), vec![(5, 1)])
        })
    });
    assert!(taken.contains(&"S15"), "{taken:?}");
    // Nobody said so, and both are in the log.
    let stored = ids(|records| {
        each!(records, Publish, |publish| if publish.run.1 == 1 && publish.run.0 == 4 {
            (publish.key, publish.outcome, publish.at) = ("key-0".into(), Outcome::Info, vec![])
        })
    });
    assert_eq!(stored, ["S15"]);
}

#[test]
fn s15_a_new_key_that_is_refused_as_reused_is_caught() {
    let refused = ids(|records| {
        each!(records, Publish, |publish| if publish.outcome == Outcome::Fail {
            publish.key = "key-9".into()
        })
    });
    assert_eq!(refused, ["S15"]);
}

#[test]
fn s2_an_event_of_a_key_that_stands_twice_is_caught() {
    let twice = ids(|records| {
        let runs = vec![Run(4, 1, 1)];
        records.push(Record::Row(Row { k: OTHER, off: 7, count: 1, before: 7, appended: 11, runs, bad: vec![] }));
        each!(records, Bounds, |bounds| if bounds.k == OTHER {
            bounds.head = 8
        });
    });
    assert_eq!(twice, ["S2"]);
}

#[test]
fn s22_a_revoked_key_that_opens_something_is_caught() {
    let used = |t0: Micros, call: &str, code: &str| {
        ids(|records| {
            records.push(Record::Revoke(Revoke { key: 7, t0: 1_000, t1: 1_500, outcome: Outcome::Info }));
            records.push(Record::Revoke(Revoke { key: 7, t0: 2_000, t1: 3_000, outcome: Outcome::Ok }));
            let (call, code) = (call.to_owned(), code.to_owned());
            records.push(Record::Use(Use { key: 7, t0, t1: t0 + 10, call, code }));
        })
    };
    assert!(used(500, "Publish", "Ok").is_empty());
    assert!(used(6_002_000, "Publish", "Ok").is_empty(), "within the bound");
    assert_eq!(used(6_004_000, "Publish", "Ok"), ["S22"]);
    assert!(used(6_004_000, "Publish", "UNAUTHENTICATED").is_empty());
    assert_eq!(used(500, "Publish", "UNAUTHENTICATED"), ["S22"], "a key that was good was refused");
    assert!(used(12_000_000, "stream", "Ok").is_empty(), "its broker may just have come back");
    assert_eq!(used(19_000_000, "stream", "Ok"), ["S22"]);
}
