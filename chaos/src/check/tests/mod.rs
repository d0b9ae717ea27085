//! A clean history passes, and for each invariant there is a history that violates it and is caught.
//!
//! The clean one: stream 0 of organization 0 and stream 1 of organization 1, a partition each; a sequenced producer and an
//! SDK producer; group 0, whose leases are seen; a lease that changes hands; a reader, a range read and the final log.

use super::{Report, Verdict, check};
use crate::history::*;

const K: Key = Key(0, 0);
const OTHER: Key = Key(1, 0);
/// Events of the sequenced producer, in requests of 10; the SDK's follow them.
const SEQUENCED: u64 = 1_000;
const BY_SDK: u64 = 100;
const END: i64 = (SEQUENCED + BY_SDK) as i64;
const HALF: i64 = 500;

fn publish(p: u32, first: u64, count: u32, off: i64, t0: Micros) -> Publish {
    Publish {
        run: Run(p, first, count),
        k: if p == 3 { OTHER } else { K },
        t0,
        t1: t0 + 50,
        outcome: Outcome::Ok,
        at: vec![(off, count)],
        duplicate: false,
        repeat: false,
        attempts: 1,
        reason: String::new(),
        key: String::new(),
    }
}

fn lease(s: u32, epoch: u64, off: i64, t: Micros) -> Record {
    Record::Lease(Lease { g: 0, s, k: K, t, log_epoch: 0, epoch, off, b: 0, moved: false })
}

/// Values at consecutive offsets of the clean log.
fn values(off: i64, count: u32) -> Vec<Run> {
    let mut runs = Vec::new();
    for at in off as u64..off as u64 + u64::from(count) {
        if at < SEQUENCED { push(&mut runs, 1, at) } else { push(&mut runs, 2, at - SEQUENCED) }
    }
    runs
}

fn deliver(s: u32, epoch: u64, off: i64, count: u32, t: Micros) -> Record {
    let next = off + i64::from(count);
    Record::Deliver(Deliver { g: 0, s, k: K, t, epoch, off, runs: values(off, count), next, bad: vec![], dealt: None })
}

fn commit(s: u32, epoch: u64, off: i64, t0: Micros) -> Record {
    let (outcome, got, reason) = (Outcome::Ok, Some(off), String::new());
    Record::Commit(Commit { g: 0, s, k: K, t0, t1: t0 + 10, epoch, off, outcome, got, reason })
}

fn setup() -> Setup {
    let stream = |organization| Stream { organization, name: "orders".into(), partitions: 1 };
    Setup {
        seed: 7,
        scenario: "standard".into(),
        streams: vec![stream(0), stream(1)],
        groups: vec![Group { stream: 0, name: "seen".into(), seen: true, ..Group::default() }],
        faults_wanted: true,
        drain_bound: 30_000_000,
        call_bound: 10_000_000,
        ..Setup::default()
    }
}

fn clean() -> Vec<Record> {
    let producer = |p, kind, stream| Record::Producer(Producer { p, kind, stream });
    let mut records = vec![
        Record::Setup(setup()),
        producer(1, ProducerKind::Sequenced, 0),
        producer(2, ProducerKind::Sdk, 0),
        producer(3, ProducerKind::Once, 1),
        Record::Phase(Phase { name: Step::Faults, t: 10 }),
        Record::Fault(Fault {
            kind: "kill".into(),
            target: "b0".into(),
            t0: 20,
            t1: 30,
            back: None,
            skipped: String::new(),
        }),
    ];
    for request in 0..SEQUENCED / 10 {
        let mut publish = publish(1, request * 10, 10, request as i64 * 10, 1_000 + request * 100);
        (publish.attempts, publish.duplicate) = if request == 3 { (2, true) } else { (1, false) };
        records.push(Record::Publish(publish));
    }
    records.push(Record::Publish(publish(2, 0, BY_SDK as u32, SEQUENCED as i64, 200_000)));
    records.push(Record::Publish(publish(3, 0, 5, 0, 200_000)));
    // The first session gets the first half and commits all but the last hundred of it; the second goes on from there.
    records.push(lease(1, 1, 0, 900));
    records.push(deliver(1, 1, 0, HALF as u32, 300_000));
    records.push(commit(1, 1, HALF - 100, 310_000));
    records.push(lease(2, 2, HALF - 100, 320_000));
    records.push(deliver(2, 2, HALF - 100, 600, 330_000));
    records.push(deliver(2, 2, HALF + 500, 100, 330_100));
    records.push(commit(2, 2, END, 340_000));
    records.push(Record::Fetch(Fetch { g: 0, k: K, t0: 350_000, t1: 350_100, off: END }));
    let read = |off: i64, count: u32| Read {
        reader: 1,
        k: K,
        t: 1,
        off,
        runs: values(off, count),
        next: off + i64::from(count),
        bad: vec![],
    };
    records.push(Record::Read(read(0, 600)));
    records.push(Record::Read(read(600, 500)));
    records.push(Record::Range(Range {
        k: K,
        t0: 360_000,
        t1: 361_000,
        from: 990,
        outcome: Outcome::Ok,
        batches: vec![(990, values(990, 110))],
        next: END,
        bad: vec![],
        damaged: None,
        reason: String::new(),
    }));
    records.push(Record::Foreign(Foreign { t0: 1, t1: 2, call: "Read".into(), code: "NotFound".into() }));
    records.push(Record::Flushed(Flushed { k: K, off: 5, t: 1_700, flushed: 200, commit: 150 }));
    at_the_end(&mut records);
    records
}

/// The last phases, and what the database holds then.
fn at_the_end(records: &mut Vec<Record>) {
    records.push(Record::Phase(Phase { name: Step::Healed, t: 400_000 }));
    records.push(Record::Phase(Phase { name: Step::Quiet, t: 20_000_000 }));
    records.push(Record::Phase(Phase { name: Step::Drained, t: 20_100_000 }));
    for (at, (off, count)) in [(0, 400), (400, 600), (1_000, 100)].into_iter().enumerate() {
        let runs = values(off, count);
        records.push(Record::Row(Row { k: K, off, count, before: off, appended: at as i64, runs, bad: vec![] }));
    }
    records.push(Record::Row(Row {
        k: OTHER,
        off: 0,
        count: 5,
        before: 0,
        appended: 9,
        runs: vec![Run(3, 0, 5)],
        bad: vec![],
    }));
    records.push(Record::Bounds(Bounds { k: K, floor: 0, head: END }));
    records.push(Record::Bounds(Bounds { k: OTHER, floor: 0, head: 5 }));
    records.push(Record::Progress(Progress { g: 0, k: K, off: END, epoch: 2 }));
}

/// The clean history with a change, checked.
fn changed(change: impl FnOnce(&mut Vec<Record>)) -> Report {
    let mut records = clean();
    change(&mut records);
    check(&records)
}

fn caught(id: &str, change: impl FnOnce(&mut Vec<Record>)) {
    let report = changed(change);
    assert!(report.findings.ids().contains(&id), "{id} was not caught: {:?}", report.findings);
    assert_eq!(report.verdict(), Verdict::Violation);
}

fn only(id: &str, change: impl FnOnce(&mut Vec<Record>)) {
    let report = changed(change);
    assert_eq!(report.findings.ids(), [id], "{:?}", report.findings);
}

/// Changes every record of a kind that fits.
macro_rules! each {
    ($records:expr, $kind:ident, |$record:ident| $change:expr) => {
        for record in $records.iter_mut() {
            if let Record::$kind($record) = record {
                $change;
            }
        }
    };
}

mod groups;
mod key_order;
mod keys;
mod liveness;
mod outcomes;

#[test]
fn a_clean_history_is_green() {
    let report = check(&clean());
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.void.is_empty(), "{:?}", report.void);
    assert_eq!(report.totals.acknowledged, SEQUENCED + BY_SDK + 5);
    assert_eq!((report.totals.redelivered, report.totals.resolved), (100, 1));
}

#[test]
fn a_history_survives_its_file() {
    let records = clean();
    let mut text = Vec::new();
    for record in &records {
        text.extend(serde_json::to_vec(record).unwrap());
        text.push(b'\n');
    }
    assert_eq!(read_lines(text.as_slice()).unwrap(), records);
}

#[test]
fn s1_an_offset_with_two_values_is_caught() {
    only("S1", |records| {
        each!(records, Read, |read| if read.off == 600 {
            read.runs = values(601, 500)
        })
    });
    caught("S1", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            publish.at = vec![(0, 100)]
        })
    });
}

#[test]
fn s1_two_values_below_the_floor_are_caught() {
    caught("S1", |records| {
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.floor = 400
        });
        records.retain(|record| !matches!(record, Record::Row(row) if row.off == 0 && row.k == K));
        each!(records, Read, |read| if read.off == 0 {
            read.runs = [values(1, 1), values(1, 599)].concat()
        });
    });
}

#[test]
fn s2_a_duplicate_in_the_log_is_caught() {
    caught("S2", |records| {
        records.push(Record::Row(Row {
            k: K,
            off: END,
            count: 1,
            before: END,
            appended: 9,
            runs: vec![Run(1, 999, 1)],
            bad: vec![],
        }));
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.head = END + 1
        });
    });
    caught("S2", |records| {
        let repeat = Publish { repeat: true, duplicate: true, ..publish(1, 0, 10, 700, 250_000) };
        records.push(Record::Publish(repeat));
    });
}

#[test]
fn s3_a_lost_event_is_caught_and_is_no_loss_below_the_floor() {
    let cut = |records: &mut Vec<Record>| {
        records.retain(|record| !matches!(record, Record::Row(row) if row.off == 0 && row.k == K));
    };
    caught("S3", cut);
    // Nobody asked for that floor.
    only("S3", |records| {
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.floor = 400
        })
    });
    let purged = changed(|records| {
        cut(records);
        records.push(Record::Purge(Purge { k: K, t0: 1, t1: 2, outcome: Outcome::Ok, before: 400 }));
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.floor = 400
        });
    });
    assert!(purged.findings.is_empty(), "{:?}", purged.findings);
}

#[test]
fn s3_loss_is_reported_and_forgiven_where_it_is_allowed_but_a_second_value_is_not() {
    let lose = |records: &mut Vec<Record>| {
        each!(records, Setup, |setup| setup.loss_allowed = true);
        records.retain(|record| !matches!(record, Record::Row(row) if row.off == 1_000));
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.head = 1_000
        });
    };
    let report = changed(lose);
    assert_eq!((report.totals.lost, report.totals.vanished), (100, 200 + 100));
    assert!(!report.findings.ids().contains(&"S3"), "{:?}", report.findings);
    caught("S1", |records| {
        lose(records);
        records.push(Record::Publish(publish(1, SEQUENCED, 10, 1_000, 300_000)));
    });
}

#[test]
fn s4_phantoms_and_damage_are_caught() {
    caught("S4", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.runs = vec![Run(9, 0, 100)]
        })
    });
    caught("S4", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.bad = vec![Bad(1_003, "a flipped bit".into())]
        })
    });
    caught("S4", |records| each!(records, Deliver, |deliver| deliver.bad = vec![Bad(3, "a flipped bit".into())]));
    // Sent to another partition than where it stands.
    caught("S4", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            publish.k = Key(0, 1)
        })
    });
}

#[test]
fn s5a_a_refused_event_in_the_log_is_caught() {
    caught("S5a", |records| {
        each!(records, Publish, |publish| if publish.run.1 == 10 {
            publish.outcome = Outcome::Fail;
            publish.at.clear()
        })
    });
}

#[test]
fn s5b_a_vanished_event_is_caught() {
    caught("S5b", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            publish.outcome = Outcome::Info;
            publish.at.clear()
        });
        records.retain(|record| !matches!(record, Record::Row(row) if row.off == 1_000));
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.head = 1_000
        });
    });
}

#[test]
fn s6_an_append_before_an_earlier_acknowledgement_is_caught() {
    only("S6", |records| {
        each!(records, Publish, |publish| if publish.run == Run(1, 0, 10) {
            (publish.t0, publish.t1) = (2_000, 2_050)
        })
    });
}

#[test]
fn s7_a_producer_out_of_order_is_caught() {
    caught("S7", |records| {
        each!(records, Row, |row| if row.off == 400 {
            row.runs = [values(500, 100), values(400, 100), values(600, 400)].concat();
        })
    });
}

#[test]
fn s16_what_crosses_organizations_is_caught() {
    only("S16", |records| each!(records, Foreign, |foreign| foreign.code = "Ok".into()));
    only("S16", |records| each!(records, Foreign, |foreign| foreign.code = "PermissionDenied".into()));
    caught("S16", |records| {
        each!(records, Read, |read| if read.off == 0 {
            read.runs[0] = Run(3, 0, 5)
        })
    });
}

#[test]
fn s17_and_s18_a_log_that_does_not_tile_or_goes_back_in_time_is_caught() {
    caught("S17", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.off = 1_001
        })
    });
    only("S17", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.count = 99
        })
    });
    only("S17", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.before = 999
        })
    });
    only("S17", |records| {
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.head += 1
        })
    });
    only("S18", |records| {
        each!(records, Row, |row| if row.off == 1_000 {
            row.appended = 0
        })
    });
}

#[test]
fn s19_an_acknowledgement_before_its_flush_is_caught() {
    only("S19", |records| each!(records, Flushed, |flushed| flushed.commit = 201));
}

#[test]
fn s20_a_read_that_misses_what_was_acknowledged_is_caught() {
    only("S20", |records| {
        each!(records, Range, |range| {
            range.next = 1_050;
            range.batches = vec![(990, values(990, 60))];
        })
    });
}

#[test]
fn s21_a_torn_request_is_caught() {
    only("S21", |records| {
        each!(records, Publish, |publish| if publish.run.0 == 3 {
            publish.outcome = Outcome::Info;
            publish.at.clear();
        });
        each!(records, Row, |row| if row.k == OTHER {
            (row.count, row.runs) = (3, vec![Run(3, 0, 3)])
        });
        each!(records, Bounds, |bounds| if bounds.k == OTHER {
            bounds.head = 3
        });
    });
}

#[test]
fn u1_a_surprise_is_a_violation() {
    only("U1", |records| {
        records.push(Record::Surprise(Surprise { t: 1, who: "an SDK consumer".into(), what: "INTERNAL".into() }))
    });
}
