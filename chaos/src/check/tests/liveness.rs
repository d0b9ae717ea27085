//! What must happen in time, log epochs, runs that prove nothing, and size.

use super::*;

#[test]
fn l1_what_is_never_delivered_is_caught() {
    only("L1", |records| {
        records.retain(|record| {
            !matches!(record, Record::Deliver(deliver) if deliver.off == HALF + 500)
                && !matches!(record, Record::Commit(commit) if commit.s == 2)
                && !matches!(record, Record::Fetch(_))
        });
        each!(records, Progress, |progress| progress.off = HALF - 100);
    });
}

#[test]
fn l2_to_l5_what_takes_too_long_in_calm_is_caught() {
    let calm = 10_000_000;
    caught("L2", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            (publish.t0, publish.t1) = (calm, calm + 10)
        });
        each!(records, Deliver, |deliver| if deliver.off == HALF + 500 {
            deliver.t = calm + 9_000_000
        });
    });
    caught("L3", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            (publish.t0, publish.t1) = (calm, calm + 11_000_000)
        })
    });
    only("L4", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            publish.t1 = 19_000_000
        })
    });
    only("L5", |records| each!(records, Fetch, |fetch| (fetch.t0, fetch.t1) = (calm, calm + 11_000_000)));
    only("L5", |records| {
        each!(records, Range, |range| (range.t0, range.t1, range.outcome) = (calm, calm + 1, Outcome::Info))
    });
}

#[test]
fn a_log_epoch_is_a_jump_and_no_hole() {
    let base = 1i64 << 40;
    let report = changed(|records| {
        records.push(Record::Publish(publish(2, BY_SDK, 10, base, 300_000)));
        let place =
            records.iter().position(|record| matches!(record, Record::Commit(commit) if commit.s == 2)).unwrap();
        let late = Deliver {
            g: 0,
            s: 2,
            k: K,
            t: 331_000,
            epoch: 2,
            off: base,
            runs: vec![Run(2, BY_SDK, 10)],
            next: base + 10,
            bad: vec![],
            dealt: None,
        };
        records.insert(place, Record::Deliver(late));
        records.push(Record::Row(Row {
            k: K,
            off: base,
            count: 10,
            before: END,
            appended: 10,
            runs: vec![Run(2, BY_SDK, 10)],
            bad: vec![],
        }));
        each!(records, Bounds, |bounds| if bounds.k == K {
            bounds.head = base + 10
        });
        each!(records, Range, |range| {
            range.next = base + 10;
            range.batches.push((base, vec![Run(2, BY_SDK, 10)]));
        });
    });
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_run_that_tried_nothing_is_void() {
    let void = |change: fn(&mut Vec<Record>)| {
        let report = changed(change);
        assert_eq!(report.verdict(), Verdict::Void, "{:?} {:?}", report.findings, report.void);
    };
    void(|records| records.retain(|record| !matches!(record, Record::Fault(_))));
    void(|records| each!(records, Setup, |setup| setup.fencing_wanted = true));
    void(|records| records.retain(|record| !matches!(record, Record::Phase(phase) if phase.name == Step::Drained)));
    assert_eq!(check(&[]).verdict(), Verdict::Void);
    // A fault that hit nothing: no write to forget, no room that anybody missed, no standby that was behind.
    void(|records| {
        each!(records, Fault, |fault| (fault.kind, fault.target) = ("power lost".into(), "0 writes forgotten".into()))
    });
    void(|records| each!(records, Fault, |fault| fault.kind = "disk full".into()));
    void(|records| each!(records, Setup, |setup| setup.loss_allowed = true));
    let fenced = changed(|records| {
        each!(records, Setup, |setup| setup.fencing_wanted = true);
        let Record::Commit(late) = commit(1, 1, HALF, 325_000) else { unreachable!() };
        records.push(Record::Commit(Commit {
            outcome: Outcome::Fail,
            got: None,
            reason: "MEMBER_FENCED".into(),
            ..late
        }));
    });
    assert_eq!(fenced.verdict(), Verdict::Green, "{:?} {:?}", fenced.findings, fenced.void);
}

#[test]
fn a_million_events_are_checked_quickly_and_exactly() {
    let mut records =
        vec![Record::Setup(setup()), Record::Producer(Producer { p: 1, kind: ProducerKind::Sequenced, stream: 0 })];
    let requests = 10_000u64;
    for request in 0..requests {
        records.push(Record::Publish(publish(1, request * 100, 100, request as i64 * 100, 1_000 + request * 100)));
        let (off, runs) = (request as i64 * 100, vec![Run(1, request * 100, 100)]);
        records.push(Record::Row(Row { k: K, off, count: 100, before: off, appended: 0, runs, bad: vec![] }));
    }
    let whole = vec![Run(1, 0, (requests * 100) as u32)];
    records.push(lease(1, 1, 0, 1));
    let next = requests as i64 * 100;
    records.push(Record::Deliver(Deliver {
        g: 0,
        s: 1,
        k: K,
        t: 2,
        epoch: 1,
        off: 0,
        runs: whole,
        next,
        bad: vec![],
        dealt: None,
    }));
    records.push(Record::Bounds(Bounds { k: K, floor: 0, head: next }));
    records.push(Record::Progress(Progress { g: 0, k: K, off: next, epoch: 1 }));
    let report = check(&records);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.totals.acknowledged, requests * 100);
}
