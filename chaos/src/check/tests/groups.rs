//! Leases, deliveries, commits, reads.

use super::*;

#[test]
fn s8a_a_hole_in_a_lease_in_a_read_and_in_a_range_is_caught() {
    caught("S8a", |records| {
        let place =
            records.iter().position(|record| matches!(record, Record::Deliver(deliver) if deliver.off == HALF + 500));
        records.insert(place.unwrap() + 1, deliver(2, 2, END + 5, 1, 331_000));
    });
    only("S8a", |records| {
        each!(records, Read, |read| if read.off == 600 {
            (read.off, read.runs) = (601, values(601, 499));
        })
    });
    only("S8a", |records| each!(records, Range, |range| range.from = 980));
}

#[test]
fn s8a_a_batch_that_passes_events_over_is_caught() {
    caught("S8a", |records| {
        each!(records, Deliver, |deliver| if deliver.off == 0 {
            deliver.next += 1
        })
    });
}

#[test]
fn s8a_damage_that_is_passed_over_is_caught() {
    only("S8a", |records| each!(records, Range, |range| range.damaged = Some(1_000)));
    let told = changed(|records| {
        each!(records, Range, |range| {
            (range.damaged, range.outcome, range.next) = (Some(1_000), Outcome::Info, 1_000);
            range.batches = vec![(990, values(990, 10))];
        })
    });
    assert!(told.findings.is_empty(), "{:?}", told.findings);
}

#[test]
fn s8b_a_lease_that_starts_too_early_or_too_late_is_caught() {
    caught("S8b", |records| {
        each!(records, Lease, |lease| if lease.s == 2 {
            lease.off = HALF - 101
        })
    });
    caught("S8b", |records| {
        each!(records, Lease, |lease| if lease.s == 2 {
            lease.off = HALF + 1
        })
    });
}

#[test]
fn s8b_a_seek_back_is_no_violation() {
    let report = changed(|records| {
        records.push(Record::Seek(Seek {
            g: 0,
            k: K,
            t0: 315_000,
            t1: 316_000,
            outcome: Outcome::Ok,
            to: 100,
            from: 400,
        }));
        each!(records, Lease, |lease| if lease.s == 2 {
            lease.off = 100
        });
        each!(records, Deliver, |deliver| if deliver.off == HALF - 100 {
            (deliver.off, deliver.runs) = (100, values(100, 900))
        });
    });
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn s9_progress_past_what_was_not_delivered_is_caught() {
    caught("S9", |records| {
        each!(records, Deliver, |deliver| if deliver.off == 0 {
            (deliver.runs, deliver.next) = (values(0, 300), 300)
        })
    });
    // A commit beyond what its session had got.
    caught("S9", |records| {
        each!(records, Commit, |commit| if commit.s == 1 {
            commit.off = HALF + 1
        })
    });
}

#[test]
fn s10_progress_that_goes_back_is_caught() {
    only("S10", |records| each!(records, Fetch, |fetch| fetch.off = END - 1));
    only("S10", |records| each!(records, Progress, |progress| progress.off = END - 1));
    // A session that was fenced says again what was true once.
    only("S10", |records| records.push(commit(1, 1, HALF - 100, 345_000)));
    let sought = changed(|records| {
        each!(records, Fetch, |fetch| fetch.off = 50);
        records.push(Record::Seek(Seek {
            g: 0,
            k: K,
            t0: 345_000,
            t1: 346_000,
            outcome: Outcome::Info,
            to: 50,
            from: 0,
        }));
        each!(records, Progress, |progress| progress.off = 50);
    });
    assert!(sought.findings.is_empty(), "{:?}", sought.findings);
}

#[test]
fn s10_and_s8b_progress_may_be_lost_with_the_log_where_that_is_allowed() {
    let lost = |is_allowed: bool| {
        changed(|records| {
            each!(records, Setup, |setup| setup.loss_allowed = is_allowed);
            let kind = "failover to a standby that is behind".to_owned();
            let (target, skipped) = (String::new(), String::new());
            records.push(Record::Fault(Fault { kind, target, t0: 341_000, t1: 343_000, back: Some(342_000), skipped }));
            let epoch = epoch_of(1, 2);
            records.push(Record::Lease(Lease {
                g: 0,
                s: 3,
                k: K,
                t: 344_000,
                log_epoch: 1,
                epoch,
                off: END - 50,
                b: 0,
                moved: false,
            }));
            records.push(deliver(3, epoch, END - 50, 50, 344_500));
            records.push(commit(3, epoch, END - 20, 345_000));
            records.push(commit(3, epoch, END, 346_000));
        })
        .findings
    };
    assert!(lost(true).is_empty(), "{:?}", lost(true));
    assert_eq!(lost(false).ids(), ["S10", "S8b"]);
}

#[test]
fn s11_a_commit_under_an_old_epoch_is_caught() {
    caught("S11", |records| records.push(commit(1, 1, HALF, 325_000)));
    let again = changed(|records| records.push(commit(1, 1, HALF - 100, 325_000)));
    assert!(again.findings.is_empty(), "{:?}", again.findings);
}

#[test]
fn s12_two_owners_of_an_epoch_are_caught() {
    caught("S12", |records| records.push(lease(3, 2, END, 350_000)));
    // A session that gets what it was not given.
    caught("S12", |records| records.push(deliver(1, 9, 0, 10, 390_000)));
}

#[test]
fn s12_a_fenced_session_that_is_fed_on_is_caught() {
    caught("S12", |records| {
        each!(records, Publish, |publish| if publish.run == Run(2, 0, 100) {
            (publish.t0, publish.t1) = (9_000_000, 9_000_050)
        });
        records.push(lease(1, 1, SEQUENCED as i64, 950));
        records.push(deliver(1, 1, SEQUENCED as i64, 100, 9_100_000));
    });
}

#[test]
fn s13_what_comes_twice_within_a_lease_is_caught() {
    only("S13", |records| {
        let place =
            records.iter().position(|record| matches!(record, Record::Deliver(deliver) if deliver.off == HALF + 500));
        records.insert(place.unwrap(), deliver(2, 2, 990, 10, 330_050));
    });
    // Without faults nothing comes again at all.
    only("S13", |records| each!(records, Setup, |setup| setup.faults_wanted = false));
}
