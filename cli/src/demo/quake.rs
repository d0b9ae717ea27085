//! An earthquake, as a row of the table and as the payload of an event.

use eventflow::Event;
use serde::Deserialize;

use crate::{parse, publish::Numbers};

/// Columns that hold numbers.
const NUMBERS: Numbers<'static> =
    Numbers(&["Latitude", "Longitude", "Depth", "Magnitude", "NbStations", "Gap", "Distance", "RMS"]);

pub(super) const EVENT_TYPE: &str = "quake.recorded";

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
}

impl Quake {
    pub(super) fn is_strong(&self) -> bool {
        self.magnitude >= STRONG
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

/// A row as an event: keyed by network, at its own time.
pub(super) fn event(
    number: usize,
    columns: &csv::StringRecord,
    row: &csv::StringRecord,
) -> Result<(Event, Quake), String> {
    let payload = serde_json::Value::Object(NUMBERS.object(columns, row));
    let quake = Quake::deserialize(&payload).map_err(|error| error.to_string())?;
    let event = Event::new(payload.to_string())
        .with_key(&quake.network)
        .with_type(EVENT_TYPE)
        .with_content_type("application/json")
        .with_time(parse::time(&quake.time)?)
        .with_header(ROW, number.to_string());
    Ok((event, quake))
}

/// An event that came back: the earthquake, and the number of its row.
pub(super) fn read(event: &Event) -> Result<(Quake, usize), String> {
    let quake: Quake = serde_json::from_slice(event.payload()).map_err(|error| error.to_string())?;
    if event.key() != Some(quake.network.as_str()) || event.event_type() != EVENT_TYPE {
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
        assert_eq!(event.key(), Some("us"));
        let (same, number) = read(&event).unwrap();
        assert_eq!((same.magnitude, same.time.as_str(), number), (7.8, "2016/03/02 12:49:48.11", 7));
        let payload = std::str::from_utf8(event.payload()).unwrap();
        assert!(payload.contains(r#""NbStations":null,"Gap":20.0"#), "{payload}");
        assert!(payload.contains(r#""EventID":"201603022035""#), "{payload}");
    }
}
