//! How long it takes until things go on after a fault, measured from histories.
//!
//! A fault is looked at until the next one begins. What has not gone on by then is counted as cut short, and shown: leaving it
//! out would leave out the slowest. `--gap` gives a run room between its faults.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Fault, Key, Micros, Outcome, Record};

/// One figure.
#[derive(Debug, Default)]
pub struct Figure {
    faults: u64,
    cut_short: u64,
    /// In microseconds, but for counts.
    values: Vec<Micros>,
}

/// Figures by name.
pub type Figures = BTreeMap<&'static str, Figure>;

const TAKEOVER: &str = "broker killed: first delivery of a partition elsewhere";
const KILLED: &str = "broker killed: the slowest producer's next acknowledgement";
const ERRORS: &str = "rolling restart: errors that SDK users saw";
const ROLLING: &str = "rolling restart: the slowest producer's longest wait for an acknowledgement";
const POSTGRES: &str = "Postgres accepts connections again: first acknowledgement";

/// Adds what a history shows.
pub fn measure(records: &[Record], figures: &mut Figures) {
    let faults = records.iter().filter_map(|record| if let Record::Fault(fault) = record { Some(fault) } else { None });
    let faults: Vec<&Fault> = faults.filter(|fault| fault.skipped.is_empty()).collect();
    for fault in &faults {
        let next = faults.iter().map(|other| other.t0).filter(|t0| *t0 > fault.t0).min().unwrap_or(Micros::MAX);
        match fault.kind.as_str() {
            "broker killed" => {
                add(figures, TAKEOVER, next, takeovers(records, fault));
                add(figures, KILLED, next, slowest(records, fault.t0).map(|first| (fault.t0, first)));
            }
            "rolling restart" => {
                let figure = figures.entry(ERRORS).or_default();
                figure.faults += 1;
                figure.values.push(errors(records, fault.t0, next));
                let figure = figures.entry(ROLLING).or_default();
                figure.faults += 1;
                figure.values.extend(longest_wait(records, fault));
            }
            kind if kind.starts_with("postgres restarted") || kind == "postgres killed" => {
                let Some(back) = fault.back else { continue };
                let first = acknowledged(records).map(|publish| publish.t1).filter(|t1| *t1 > back).min();
                add(figures, POSTGRES, next, first.map(|first| (back, first)));
            }
            _ => {}
        }
    }
}

/// Adds (from, until) of one fault; none of them: it never went on.
fn add(figures: &mut Figures, name: &'static str, next: Micros, times: impl IntoIterator<Item = (Micros, Micros)>) {
    let figure = figures.entry(name).or_default();
    let (before, cut) = (figure.values.len(), figure.cut_short);
    for (from, until) in times {
        if until < next { figure.values.push(until - from) } else { figure.cut_short += 1 }
    }
    // A broker that held nothing takes nothing away.
    figure.faults += u64::from(figure.values.len() > before || figure.cut_short > cut);
}

fn acknowledged(records: &[Record]) -> impl Iterator<Item = &crate::history::Publish> {
    records.iter().filter_map(|record| match record {
        Record::Publish(publish) if publish.outcome == Outcome::Ok && !publish.repeat => Some(publish),
        _ => None,
    })
}

/// The first delivery of each partition whose holder's broker died, by whoever has it then.
fn takeovers(records: &[Record], fault: &Fault) -> Vec<(Micros, Micros)> {
    let mut held: HashMap<(u16, Key), (u8, u32)> = HashMap::new();
    let mut ended = Vec::new();
    for record in records {
        match record {
            Record::Lease(lease) if lease.t < fault.t0 => {
                held.insert((lease.g, lease.k), (lease.b, lease.s));
            }
            Record::Ended(session) if session.t < fault.t0 => ended.push(session.s),
            _ => {}
        }
    }
    held.retain(|_, (broker, session)| fault.target == format!("b{broker}") && !ended.contains(session));
    let mut first: HashMap<(u16, Key), Micros> = held.keys().map(|id| (*id, Micros::MAX)).collect();
    for record in records {
        if let Record::Deliver(deliver) = record
            && deliver.t > fault.t0
            && let Some((_, old)) = held.get(&(deliver.g, deliver.k))
            && deliver.s != *old
            && let Some(first) = first.get_mut(&(deliver.g, deliver.k))
        {
            *first = deliver.t.min(*first);
        }
    }
    first.into_values().map(|first| (fault.t0, first)).collect()
}

/// When the slowest producer was acknowledged again.
fn slowest(records: &[Record], from: Micros) -> Option<Micros> {
    let mut first: HashMap<u32, Micros> = HashMap::new();
    for publish in acknowledged(records).filter(|publish| publish.t1 > from) {
        let known = first.entry(publish.run.0).or_insert(publish.t1);
        *known = publish.t1.min(*known);
    }
    first.into_values().max()
}

/// The longest that any publish took which was under way while brokers were restarted.
fn longest_wait(records: &[Record], fault: &Fault) -> Option<Micros> {
    let during = acknowledged(records).filter(|publish| publish.t1 > fault.t0 && publish.t0 < fault.t1);
    during.map(|publish| publish.t1 - publish.t0).max()
}

fn errors(records: &[Record], from: Micros, until: Micros) -> Micros {
    let seen = records.iter().filter(|record| match record {
        Record::Surprise(surprise) => surprise.who.contains("SDK") && (from..until).contains(&surprise.t),
        _ => false,
    });
    seen.count() as Micros
}

/// Faults, samples, median, 99th percentile and worst, in milliseconds; counts stay counts.
pub fn table(figures: &mut Figures) -> Vec<String> {
    let head = "| what | faults | samples | p50 | p99 | worst | cut short |";
    let mut lines = vec![head.to_owned(), "|---|---|---|---|---|---|---|".to_owned()];
    for (name, figure) in figures {
        let Figure { faults, cut_short, values } = figure;
        values.sort_unstable();
        if values.is_empty() {
            lines.push(format!("| {name} | {faults} | 0 | – | – | – | {cut_short} |"));
            continue;
        }
        let at = |share: usize| values[(values.len() * share / 100).min(values.len() - 1)];
        let show = |value: Micros| if *name == ERRORS { value.to_string() } else { format!("{} ms", value / 1_000) };
        let (count, p50, p99, worst) = (values.len(), show(at(50)), show(at(99)), show(at(100)));
        lines.push(format!("| {name} | {faults} | {count} | {p50} | {p99} | {worst} | {cut_short} |"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Deliver, Lease, Publish, Run, Surprise};

    const K: Key = Key(0, 0);

    fn fault(kind: &str, target: &str, t0: Micros, t1: Micros) -> Record {
        let (kind, target, skipped) = (kind.to_owned(), target.to_owned(), String::new());
        Record::Fault(Fault { kind, target, t0, t1, back: Some(t1), skipped })
    }

    fn lease(s: u32, b: u8, t: Micros) -> Record {
        Record::Lease(Lease { g: 0, s, k: K, t, log_epoch: 0, epoch: u64::from(s), off: 0, b, moved: false })
    }

    fn deliver(s: u32, t: Micros) -> Record {
        Record::Deliver(Deliver { g: 0, s, k: K, t, epoch: 1, off: 0, runs: vec![], next: 0, bad: vec![], dealt: None })
    }

    fn publish(t0: Micros, t1: Micros) -> Record {
        let (run, outcome, reason) = (Run(1, 0, 1), Outcome::Ok, String::new());
        let (at, duplicate, repeat, attempts) = (vec![], false, false, 1);
        Record::Publish(Publish {
            run,
            k: K,
            t0,
            t1,
            outcome,
            at,
            duplicate,
            repeat,
            attempts,
            reason,
            key: String::new(),
        })
    }

    fn measured(records: &[Record]) -> Figures {
        let mut figures = Figures::new();
        measure(records, &mut figures);
        figures
    }

    #[test]
    fn a_takeover_is_measured_from_the_kill_to_the_first_delivery_by_another_session() {
        let kill = fault("broker killed", "b1", 1_000, 1_005);
        let records =
            [lease(1, 1, 10), kill, deliver(1, 1_001), lease(2, 0, 2_000), deliver(2, 3_000), publish(0, 1_400)];
        let mut figures = measured(&records);
        assert_eq!(figures[TAKEOVER].values, [2_000]);
        assert_eq!(figures[KILLED].values, [400]);
        assert_eq!(table(&mut figures).len(), 4);
    }

    #[test]
    fn what_the_next_fault_cuts_short_is_counted_and_not_left_out() {
        let kills = [fault("broker killed", "b1", 1_000, 1_005), fault("connections reset", "", 2_000, 2_001)];
        let figures = measured(&[&[lease(1, 1, 10), deliver(2, 3_000)][..], &kills].concat());
        assert_eq!((figures[TAKEOVER].faults, figures[TAKEOVER].cut_short), (1, 1));
        assert!(figures[TAKEOVER].values.is_empty());
    }

    #[test]
    fn a_rolling_restart_counts_the_errors_of_sdk_users_and_the_longest_wait() {
        let what = String::new();
        let surprise = |who: &str, t| Record::Surprise(Surprise { t, who: who.into(), what: what.clone() });
        let records = [
            fault("rolling restart", "", 1_000, 2_000),
            surprise("an SDK producer", 1_500),
            surprise("a broker", 1_600),
            surprise("an SDK producer", 900),
            publish(900, 1_700),
            publish(2_100, 9_000),
        ];
        let figures = measured(&records);
        assert_eq!(figures[ERRORS].values, [1]);
        assert_eq!(figures[ROLLING].values, [800]);
    }

    #[test]
    fn a_restart_of_postgres_is_measured_from_when_it_accepts_connections() {
        let records = [fault("postgres killed", "", 1_000, 2_000), publish(0, 1_100), publish(1_200, 2_300)];
        assert_eq!(measured(&records)[POSTGRES].values, [300]);
    }
}
