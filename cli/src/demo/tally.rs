//! What one consumer group has seen. Pure.
//!
//! The members of a group share it, as they would share a database: an event is new when its (partition, offset) is, whoever
//! brings it. Order is judged at first sight, because a repeat is by nature late.

use std::collections::{BTreeMap, HashMap};

use super::quake::Quake;

/// Examples of what is wrong that are kept for the report.
const EXAMPLES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Partition and offset, and the row that stood there.
    seen: HashMap<(u32, i64), usize>,
    again: u64,
    changed: Vec<String>,
    /// The last row of each network, recorded and revised: the two are published one after the other.
    rows: HashMap<(String, bool), usize>,
    disorder: Vec<String>,
    networks: BTreeMap<String, Network>,
    strong: Vec<Quake>,
}

/// Statistics of a network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) events: usize,
    pub(super) strongest: Quake,
    pub(super) latest: String,
}

impl Tally {
    /// Takes an event; true when it is new.
    pub(super) fn take(&mut self, at: (u32, i64), row: usize, quake: Quake) -> bool {
        let (partition, offset) = at;
        if let Some(before) = self.seen.get(&at) {
            self.again += 1;
            if *before != row && self.changed.len() < EXAMPLES {
                self.changed.push(format!("{partition}/{offset} was row {before}, and row {row} when it came again"));
            }
            return false;
        }
        self.seen.insert(at, row);
        self.check_order(at, row, &quake);
        if quake.is_strong() {
            self.strong.push(quake.clone());
        }
        match self.networks.get_mut(&quake.network) {
            Some(network) => network.add(quake),
            None => {
                let network = Network { events: 1, latest: quake.time.clone(), strongest: quake };
                self.networks.insert(network.strongest.network.clone(), network);
            }
        }
        true
    }

    fn check_order(&mut self, at: (u32, i64), row: usize, quake: &Quake) {
        let network = &quake.network;
        if let Some(before) = self.rows.insert((network.clone(), quake.is_revision), row)
            && before >= row
            && self.disorder.len() < EXAMPLES
        {
            let (partition, offset) = at;
            self.disorder.push(format!("{network}: row {row} came after row {before}, at {partition}/{offset}"));
        }
    }

    /// Different events.
    pub(super) fn distinct(&self) -> usize {
        self.seen.len()
    }

    /// Deliveries of events that had been delivered before.
    pub(super) fn again(&self) -> u64 {
        self.again
    }

    pub(super) fn seen(&self) -> &HashMap<(u32, i64), usize> {
        &self.seen
    }

    /// Examples of offsets at which two different events came.
    pub(super) fn changed(&self) -> &[String] {
        &self.changed
    }

    /// Examples of events of one network that came in another order than they were published in.
    pub(super) fn disorder(&self) -> &[String] {
        &self.disorder
    }

    /// Partitions whose offsets are not 0, 1, 2, … without a hole.
    pub(super) fn gaps(&self) -> Vec<String> {
        let mut partitions: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        for (partition, offset) in self.seen.keys() {
            let (events, last) = partitions.entry(*partition).or_insert((0, -1));
            *events += 1;
            *last = (*last).max(*offset);
        }
        let broken = partitions.into_iter().filter(|(_, (events, last))| *events != last + 1);
        broken
            .map(|(partition, (events, last))| format!("partition {partition}: {events} events up to offset {last}"))
            .collect()
    }

    pub(super) fn networks(&self) -> &BTreeMap<String, Network> {
        &self.networks
    }

    pub(super) fn strong(&self) -> &[Quake] {
        &self.strong
    }
}

impl Network {
    fn add(&mut self, quake: Quake) {
        self.events += 1;
        // Times of the table compare as text.
        if quake.time > self.latest {
            self.latest.clone_from(&quake.time);
        }
        if quake.magnitude > self.strongest.magnitude {
            self.strongest = quake;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quake(network: &str, magnitude: f64, time: &str) -> Quake {
        Quake {
            time: time.into(),
            latitude: 0.0,
            longitude: 0.0,
            magnitude,
            network: network.into(),
            id: String::new(),
            is_reviewed: false,
            is_revision: false,
        }
    }

    #[test]
    fn a_repeat_is_counted_and_changes_nothing_else() {
        let mut tally = Tally::default();
        assert!(tally.take((0, 0), 0, quake("us", 6.1, "a")));
        assert!(tally.take((0, 1), 5, quake("us", 7.0, "b")));
        assert!(!tally.take((0, 0), 0, quake("us", 6.1, "a")));
        assert_eq!((tally.distinct(), tally.again(), tally.strong().len()), (2, 1, 2));
        assert!(tally.disorder().is_empty() && tally.gaps().is_empty() && tally.changed().is_empty());
        let network = &tally.networks()["us"];
        assert_eq!((network.events, network.strongest.magnitude, network.latest.as_str()), (2, 7.0, "b"));
    }

    #[test]
    fn a_repeat_that_is_another_event_is_found() {
        let mut tally = Tally::default();
        tally.take((0, 0), 0, quake("us", 1.0, "a"));
        tally.take((0, 0), 1, quake("us", 1.0, "b"));
        assert_eq!(tally.changed(), ["0/0 was row 0, and row 1 when it came again"]);
    }

    #[test]
    fn a_hole_and_a_broken_order_are_found() {
        let mut tally = Tally::default();
        tally.take((3, 0), 9, quake("us", 1.0, "a"));
        tally.take((3, 2), 4, quake("us", 1.0, "b"));
        assert_eq!(tally.gaps(), ["partition 3: 2 events up to offset 2"]);
        assert_eq!(tally.disorder(), ["us: row 4 came after row 9, at 3/2"]);
        tally.take((3, 3), 2, Quake { is_revision: true, ..quake("us", 1.0, "c") });
        assert_eq!(tally.disorder().len(), 1, "revisions have an order of their own");
    }
}
