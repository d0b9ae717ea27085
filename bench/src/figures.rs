//! Every figure that the bench may give: its name, what it says, and its bar.

use serde_json::{Map, Value};

/// What a figure is held against; from the project's design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    pub fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
        }
    }
}

/// What a figure is.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub bar: Option<Bar>,
    /// Whether its ratio to the append ceiling says something.
    pub is_appended: bool,
}

const fn plain(name: &'static str, what: &'static str, unit: &'static str) -> Kind {
    Kind { name, what, unit, bar: None, is_appended: false }
}

const fn at_least(name: &'static str, what: &'static str, unit: &'static str, bar: f64) -> Kind {
    Kind { bar: Some(Bar::AtLeast(bar)), ..plain(name, what, unit) }
}

const fn at_most(name: &'static str, what: &'static str, unit: &'static str, bar: f64) -> Kind {
    Kind { bar: Some(Bar::AtMost(bar)), ..plain(name, what, unit) }
}

const fn appended(kind: Kind) -> Kind {
    Kind { is_appended: true, ..kind }
}

/// In the order of the table.
pub const KINDS: &[Kind] = &[
    plain("append_ceiling_200_1", "bare append, 200 B, 1 connection", "events/s"),
    plain("append_ceiling_200_2", "bare append, 200 B, 2 connections", "events/s"),
    plain("append_ceiling_200_3", "bare append, 200 B, 3 connections", "events/s"),
    plain("append_ceiling_1000", "bare append, 1,000 B, best of 1 to 3", "events/s"),
    plain("transport_ceiling", "bare tonic stream, 200 B, no storage", "events/s"),
    appended(at_least("publish_200", "publish, 200 B", "events/s", 500_000.0)),
    appended(plain("publish_200_keyed", "publish, 200 B, 10,000 keys", "events/s")),
    appended(plain("publish_200_incompressible", "publish, 200 B, incompressible", "events/s")),
    at_least("publish_1000", "publish, 1,000 B", "events/s", 150_000.0),
    appended(at_least("end_to_end", "end to end, one group", "events/s", 300_000.0)),
    at_least("catch_up", "catch-up, one consumer", "events/s", 600_000.0),
    at_least("fan_out", "fan-out to 10 groups", "deliveries/s", 1_200_000.0),
    at_least("producers", "1,000 producers, one event in flight each", "events/s", 50_000.0),
    at_most("publish_p50", "publish at 1,000/s, each awaited, p50", "ms", 0.6),
    at_most("publish_p99", "publish at 1,000/s, each awaited, p99", "ms", 2.0),
    at_most("push_p50", "push at 1,000/s, call to delivery, p50", "ms", 0.8),
    at_most("push_p99", "push at 1,000/s, call to delivery, p99", "ms", 3.0),
    at_least("shared", "shared group, acknowledged one by one", "events/s", 150_000.0),
    plain("shared_by_key", "the same, the order of 10,000 keys kept", "events/s"),
    plain("retry_storm", "100,000 events failed, each by itself", "events/s"),
    at_most("retry_storm_p99", "publish p99 meanwhile, against before", "times", 2.0),
    at_most("schema_check", "one 1,000 B event against its compiled schema", "µs", 10.0),
    plain("rules", "copied by a rule behind one that masks, 200 B, 10,000 keys", "events/s"),
    at_most("server_cpu", "server CPU per million published, 200 B", "s", 3.0),
    plain("broker_cpu", "of that the broker", "s"),
    plain("postgres_cpu", "of that Postgres", "s"),
    at_most("disk_200", "disk per event, 200 B JSON", "bytes", 209.0),
    at_most("disk_200_incompressible", "disk per event, 200 B incompressible", "bytes", 245.0),
    plain("disk_1000", "disk per event, 1,000 B JSON", "bytes"),
    plain("wal_200", "WAL per event, 200 B JSON", "bytes"),
];

/// One measured value of a figure.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: &'static str,
    pub value: f64,
    pub details: Map<String, Value>,
}

impl Sample {
    pub fn new(name: &'static str, value: f64) -> Self {
        Self { name, value, details: Map::new() }
    }

    /// Something besides, for the file of figures.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// The middle one; the mean of the two middle ones when their number is even.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_bar_includes_its_value() {
        assert!(Bar::AtLeast(500.0).is_met_by(500.0) && !Bar::AtLeast(500.0).is_met_by(499.0));
        assert!(Bar::AtMost(2.0).is_met_by(2.0) && !Bar::AtMost(2.0).is_met_by(2.1));
    }

    #[test]
    fn names_of_figures_are_unique() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
