//! How long it takes until things go on after a fault, measured from histories.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Fault, Key, Micros, Outcome, Record};

/// Samples of one figure, in microseconds.
pub type Samples = BTreeMap<&'static str, Vec<Micros>>;

/// A fault whose effect is not over when the next one comes measures both: such samples are left out.
const APART: Micros = 500_000;

/// Adds what a history shows.
pub fn measure(records: &[Record], samples: &mut Samples) {
    let faults: Vec<&Fault> = records
        .iter()
        .filter_map(|record| if let Record::Fault(fault) = record { Some(fault) } else { None })
        .filter(|fault| fault.skipped.is_empty())
        .collect();
    for fault in &faults {
        let next = faults.iter().map(|other| other.t0).filter(|t0| *t0 > fault.t0).min().unwrap_or(Micros::MAX);
        match fault.kind.as_str() {
            "broker killed" => killed(records, fault, next, samples),
            "rolling restart" => {
                let seen =
                    |record: &&Record| matches!(record, Record::Surprise(surprise) if surprise.who.contains("SDK"));
                let errors = records.iter().filter(seen).count() as Micros;
                samples.entry("errors that an SDK user saw in a run with rolling restarts").or_default().push(errors);
                slowest(
                    records,
                    fault.t0,
                    next,
                    "rolling restart: the slowest producer's next acknowledgement",
                    samples,
                );
            }
            kind if kind.starts_with("postgres restarted") || kind == "postgres killed" => {
                let Some(back) = fault.back else { continue };
                let acked = acknowledged(records).map(|(_, t1)| t1).filter(|t1| *t1 > back).min();
                if let Some(first) = acked.filter(|first| *first < next.max(back + APART)) {
                    samples
                        .entry("Postgres accepts connections: first acknowledgement")
                        .or_default()
                        .push(first - back);
                }
            }
            _ => {}
        }
    }
}

fn acknowledged(records: &[Record]) -> impl Iterator<Item = (u32, Micros)> {
    records.iter().filter_map(|record| match record {
        Record::Publish(publish) if publish.outcome == Outcome::Ok && !publish.repeat => {
            Some((publish.run.0, publish.t1))
        }
        _ => None,
    })
}

/// The first delivery of each partition whose holder's broker died, by whoever has it then; and the slowest producer.
fn killed(records: &[Record], fault: &Fault, next: Micros, samples: &mut Samples) {
    let mut held: HashMap<(u16, Key), (u8, u32)> = HashMap::new();
    for record in records {
        if let Record::Lease(lease) = record
            && lease.t < fault.t0
        {
            held.insert((lease.g, lease.k), (lease.b, lease.s));
        }
    }
    for ((g, k), (broker, session)) in held {
        if fault.target != format!("b{broker}") {
            continue;
        }
        let first = records.iter().find_map(|record| match record {
            Record::Deliver(deliver)
                if (deliver.g, deliver.k) == (g, k) && deliver.t > fault.t0 && deliver.s != session =>
            {
                Some(deliver.t)
            }
            _ => None,
        });
        if let Some(first) = first.filter(|first| *first < next) {
            samples.entry("broker killed: first delivery of a partition elsewhere").or_default().push(first - fault.t0);
        }
    }
    slowest(records, fault.t0, next, "broker killed: the slowest producer's next acknowledgement", samples);
}

fn slowest(records: &[Record], from: Micros, next: Micros, figure: &'static str, samples: &mut Samples) {
    let mut first: HashMap<u32, Micros> = HashMap::new();
    for (producer, t1) in acknowledged(records).filter(|(_, t1)| *t1 > from) {
        let known = first.entry(producer).or_insert(t1);
        *known = t1.min(*known);
    }
    if let Some(slowest) = first.values().max().filter(|slowest| **slowest < next) {
        samples.entry(figure).or_default().push(slowest - from);
    }
}

/// Samples, median, 99th percentile and worst, in milliseconds; counts stay counts.
pub fn table(samples: &mut Samples) -> Vec<String> {
    let mut lines = vec!["| what | samples | p50 | p99 | worst |".to_owned(), "|---|---|---|---|---|".to_owned()];
    for (figure, values) in samples {
        values.sort_unstable();
        let at = |share: usize| values[(values.len() * share / 100).min(values.len() - 1)];
        let show = |value: Micros| {
            if figure.starts_with("errors") { value.to_string() } else { format!("{} ms", value / 1_000) }
        };
        lines.push(format!(
            "| {figure} | {} | {} | {} | {} |",
            values.len(),
            show(at(50)),
            show(at(99)),
            show(at(100))
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Deliver, Lease, Publish, Run};

    #[test]
    fn a_takeover_is_measured_from_the_kill_to_the_first_delivery_by_another_session() {
        let k = Key(0, 0);
        let fault = |t0| {
            Record::Fault(Fault {
                kind: "broker killed".into(),
                target: "b1".into(),
                t0,
                t1: t0 + 5,
                back: None,
                skipped: String::new(),
            })
        };
        let lease = |s, b, t| {
            Record::Lease(Lease { g: 0, s, k, t, log_epoch: 0, epoch: u64::from(s), off: 0, b, moved: false })
        };
        let deliver =
            |s, t| Record::Deliver(Deliver { g: 0, s, k, t, epoch: 1, off: 0, runs: vec![], next: 0, bad: vec![] });
        let publish = |t1| {
            Record::Publish(Publish {
                run: Run(1, 0, 1),
                k,
                t0: 0,
                t1,
                outcome: Outcome::Ok,
                at: vec![],
                duplicate: false,
                repeat: false,
                attempts: 1,
                reason: String::new(),
            })
        };
        let records =
            [lease(1, 1, 10), fault(1_000), deliver(1, 1_001), lease(2, 0, 2_000), deliver(2, 3_000), publish(1_400)];
        let mut samples = Samples::new();
        measure(&records, &mut samples);
        assert_eq!(samples["broker killed: first delivery of a partition elsewhere"], [2_000]);
        assert_eq!(samples["broker killed: the slowest producer's next acknowledgement"], [400]);
        assert_eq!(table(&mut samples).len(), 4);
    }
}
