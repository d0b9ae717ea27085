//! An earthquake, as a row of the table and as the payload of an event.

use eventflow::Event;
use serde::Deserialize;

use crate::{parse, publish::Numbers};

/// Columns that hold numbers.
const NUMBERS: Numbers<'static> =
    Numbers(&["Latitude", "Longitude", "Depth", "Magnitude", "NbStations", "Gap", "Distance", "RMS"]);

/// A row that is the first of its earthquake.
pub(super) const RECORDED: &str = "quake.recorded";

/// A row that says something else of an earthquake than the rows before it.
pub(super) const REVISED: &str = "quake.revised";

/// What every payload is.
pub(super) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["DateTime", "Latitude", "Longitude", "Magnitude", "Source", "EventID"],
  "properties": {
    "DateTime": { "type": "string", "minLength": 19 },
    "Latitude": { "type": "number", "minimum": -90, "maximum": 90 },
    "Longitude": { "type": "number", "minimum": -180, "maximum": 180 },
    "Depth": { "type": ["number", "null"] },
    "Magnitude": { "type": "number" },
    "Source": { "type": "string", "minLength": 1 },
    "EventID": { "type": "string" },
    "Reviewed": { "type": "boolean" }
  }
}"#;

/// From here on it is felt far away.
pub(super) const STRONG: f64 = 6.0;

/// Header with the number of the row in the table, by which order is checked.
const ROW: &str = "row";

/// What the groups read from a payload.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Quake {
    #[serde(rename = "DateTime")]
    pub(super) time: String,
    #[serde(rename = "Latitude")]
    pub(super) latitude: f64,
    #[serde(rename = "Longitude")]
    pub(super) longitude: f64,
    #[serde(rename = "Magnitude")]
    pub(super) magnitude: f64,
    #[serde(rename = "Source")]
    pub(super) network: String,
    /// The network's own name for it, the same in every row about this earthquake; empty where the network gives none.
    #[serde(rename = "EventID")]
    pub(super) id: String,
    /// A person has looked at it; only edits say so.
    #[serde(rename = "Reviewed", default)]
    pub(super) is_reviewed: bool,
    #[serde(skip)]
    pub(super) is_revision: bool,
}

impl Quake {
    pub(super) fn is_strong(&self) -> bool {
        self.magnitude >= STRONG
    }

    /// The same for every row about this earthquake.
    pub(super) fn idempotency_key(&self) -> String {
        format!("{}/{}", self.network, self.id)
    }

    /// `35.8° N 97.4° W`.
    pub(super) fn place(&self) -> String {
        let side = |value: f64, positive, negative| if value < 0.0 { negative } else { positive };
        format!(
            "{:.1}° {} {:.1}° {}",
            self.latitude.abs(),
            side(self.latitude, "N", "S"),
            self.longitude.abs(),
            side(self.longitude, "E", "W"),
        )
    }
}

/// A row as an event: keyed by network, at its own time. What it is published as is up to the caller.
pub(super) fn event(
    number: usize,
    columns: &csv::StringRecord,
    row: &csv::StringRecord,
) -> Result<(Event, Quake), String> {
    let payload = serde_json::Value::Object(NUMBERS.object(columns, row));
    let quake = Quake::deserialize(&payload).map_err(|error| error.to_string())?;
    let event = Event::new(payload.to_string())
        .with_key(&quake.network)
        .with_content_type("application/json")
        .with_time(parse::time(&quake.time)?)
        .with_header(ROW, number.to_string());
    Ok((event, quake))
}

/// An event that came back: the earthquake, and the number of its row.
pub(super) fn read(event: &Event) -> Result<(Quake, usize), String> {
    let mut quake: Quake = serde_json::from_slice(event.payload()).map_err(|error| error.to_string())?;
    quake.is_revision = event.event_type() == REVISED;
    if event.key() != Some(quake.network.as_str()) || !(quake.is_revision || event.event_type() == RECORDED) {
        return Err(format!("key or type of an event of `{}` is another", quake.network));
    }
    let row = event.header(ROW).and_then(|row| row.parse().ok());
    Ok((quake, row.ok_or("the row's number is missing")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let columns = "DateTime,Latitude,Longitude,Depth,Magnitude,MagType,NbStations,Gap,Distance,RMS,Source,EventID";
        let row = "2016/03/02 12:49:48.11,-4.9521,94.3299,24.00,7.80,Mw,,20,7,1.14,us,201603022035";
        let columns: csv::StringRecord = columns.split(',').collect();
        let row: csv::StringRecord = row.split(',').collect();
        let (event, quake) = event(7, &columns, &row).unwrap();
        assert!(quake.is_strong());
        assert_eq!(quake.place(), "5.0° S 94.3° E");
        assert_eq!((event.key(), quake.idempotency_key().as_str()), (Some("us"), "us/201603022035"));
        let (same, number) = read(&event.clone().with_type(RECORDED)).unwrap();
        assert!(!same.is_revision && read(&event.clone().with_type(REVISED)).unwrap().0.is_revision);
        assert_eq!((same.magnitude, same.time.as_str(), number), (7.8, "2016/03/02 12:49:48.11", 7));
        let payload = std::str::from_utf8(event.payload()).unwrap();
        assert!(payload.contains(r#""NbStations":null,"Gap":20.0"#), "{payload}");
        assert!(payload.contains(r#""EventID":"201603022035""#), "{payload}");
    }
}
