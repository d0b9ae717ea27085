//! The table of earthquakes, read before anything starts: what is published, and what must come out.

use std::{collections::BTreeMap, path::Path};

use eventflow::Event;

use super::quake;
use crate::failure::{Exit, Failure, Result};

/// All events in the order of the table, and the facts that a run is measured by.
pub(super) struct Catalogue {
    events: Vec<Event>,
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
        let mut catalogue = Self { events: Vec::new(), networks: BTreeMap::new(), strong: 0 };
        for (number, row) in reader.records().enumerate() {
            let line = number + 2;
            let row = row.map_err(|error| wrong(line, error.to_string()))?;
            let (event, quake) = quake::event(number, &columns, &row).map_err(|cause| wrong(line, cause))?;
            catalogue.strong += usize::from(quake.is_strong());
            *catalogue.networks.entry(quake.network).or_default() += 1;
            catalogue.events.push(event);
        }
        if catalogue.events.is_empty() {
            return Err(wrong(2, "the file holds no rows".to_owned()));
        }
        Ok(catalogue)
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
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
