//! The table of earthquakes, read before anything starts: what is published, and what must come out.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use eventflow::Event;

use super::quake;
use crate::failure::{Exit, Failure, Result};

/// All events in the order of the table, and the facts that a run is measured by.
pub(super) struct Catalogue {
    events: Vec<Event>,
    revisions: Vec<(usize, Event)>,
    networks: BTreeMap<String, usize>,
    strong: usize,
}

impl Catalogue {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| {
            let hint = "run this from the root of the repository, or name the file with --data";
            Failure::file("read", path, &error).hint(hint)
        })?;
        let mut reader = csv::Reader::from_reader(std::io::BufReader::new(file));
        let wrong = |line: usize, cause: String| {
            let sentence = format!("line {line} of `{}` is not an earthquake", path.display());
            Failure::new(Exit::Error, "BAD_INPUT", sentence).cause(cause)
        };
        let columns = reader.headers().map_err(|error| wrong(1, error.to_string()))?.clone();
        let mut catalogue = Self { events: Vec::new(), revisions: Vec::new(), networks: BTreeMap::new(), strong: 0 };
        let mut known = HashSet::new();
        for (number, row) in reader.records().enumerate() {
            let line = number + 2;
            let row = row.map_err(|error| wrong(line, error.to_string()))?;
            let (event, quake) = quake::event(number, &columns, &row).map_err(|cause| wrong(line, cause))?;
            catalogue.strong += usize::from(quake.is_strong());
            let key = quake.idempotency_key();
            catalogue.events.push(event.clone().with_type(quake::RECORDED).with_idempotency_key(&key));
            if !known.insert(key) {
                catalogue.revisions.push((number, event.with_type(quake::REVISED)));
            }
            *catalogue.networks.entry(quake.network).or_default() += 1;
        }
        if catalogue.events.is_empty() {
            return Err(wrong(2, "the file holds no rows".to_owned()));
        }
        Ok(catalogue)
    }

    /// Every row, as it is recorded under the key of its earthquake.
    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Rows about an earthquake that a row before them was about: their numbers, and what they are published as in the end.
    pub(super) fn revisions(&self) -> &[(usize, Event)] {
        &self.revisions
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Different earthquakes.
    pub(super) fn earthquakes(&self) -> usize {
        self.events.len() - self.revisions.len()
    }

    /// The network whose events fail until it is fixed: the biggest one of at most a hundredth of the rows, or the smallest.
    pub(super) fn failing(&self) -> (&str, usize) {
        let few = |rows: usize| rows <= self.events.len() / 100;
        let networks = self.networks.iter().map(|(name, rows)| (name.as_str(), *rows));
        let biggest = networks.clone().filter(|(_, rows)| few(*rows)).max_by_key(|(_, rows)| *rows);
        biggest.or_else(|| networks.min_by_key(|(_, rows)| *rows)).unwrap_or_default()
    }

    /// Earthquakes of magnitude 6 and above.
    pub(super) fn strong(&self) -> usize {
        self.strong
    }

    /// Rows of each network.
    pub(super) fn networks(&self) -> &BTreeMap<String, usize> {
        &self.networks
    }
}
