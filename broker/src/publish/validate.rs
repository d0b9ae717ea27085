//! What a stream's schemas say about the part of a request for one partition.

use crate::domain::error::Violation;
use crate::domain::limits::VIOLATIONS_MAX;
use crate::domain::schema::{Enforcement, called};
use crate::domain::{Applied, Error, Reason};
use crate::publish::split::Part;
use crate::schemas::StreamSchemas;
use crate::telemetry::metrics;

/// Bytes of payloads that are validated before others get their turn: validation does not wait for anything by itself.
const TURN_BYTES: usize = 128 * 1024;

/// A part is refused, or warned of, or neither.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) refusal: Option<Error>,
    pub(super) warnings: Vec<Violation>,
}

/// Asks the schema of each event. Events are named by their index within the client's request: `among` are those of the events
/// that were split, when they are others.
pub(super) async fn judge(
    schemas: &StreamSchemas,
    enforcement: Enforcement,
    part: &Part,
    among: Option<&[u32]>,
) -> Judged {
    let mut found = Found::default();
    let mut bytes = 0;
    for (place, event) in part.events.iter().enumerate() {
        let Some(schema) = schemas.of(&event.kind) else { continue };
        let faults = schema.faults(&event.payload);
        if !faults.is_empty() {
            let place = part.picked.as_ref().map_or(place, |picked| picked[place] as usize);
            let index = among.and_then(|among| among.get(place)).map_or(place, |index| *index as usize);
            found.events += 1;
            found.first.get_or_insert_with(|| (called(&schema.event_type), schema.version));
            let room = VIOLATIONS_MAX - found.violations.len();
            found.violations.extend(faults.into_iter().take(room).map(|fault| Violation {
                field: format!("events[{index}].payload{}", fault.pointer),
                description: fault.description,
            }));
        }
        bytes += event.payload.len() + 256;
        if bytes > TURN_BYTES {
            bytes = 0;
            tokio::task::yield_now().await;
        }
    }
    found.judged(enforcement)
}

#[derive(Default)]
struct Found {
    /// Events with violations.
    events: u64,
    violations: Vec<Violation>,
    /// The schema that found the first.
    first: Option<(String, i32)>,
}

impl Found {
    fn judged(self, enforcement: Enforcement) -> Judged {
        let (Some((schema, version)), Some(first)) = (self.first, self.violations.first()) else {
            return Judged::default();
        };
        if enforcement == Enforcement::Warn {
            metrics::get().schema_warned.increment(self.events);
            return Judged { refusal: None, warnings: self.violations };
        }
        metrics::get().schema_refused.increment(self.events);
        let message = format!("`{}`: {} (version {version} of {schema})", first.field, first.description);
        let error = Error::new(Reason::SchemaViolation, message)
            .fact("invalid_events", self.events)
            .fact("schema_version", version)
            .applied(Applied::No);
        let refusal =
            self.violations.into_iter().fold(error, |error, found| error.violation(found.field, found.description));
        Judged { refusal: Some(refusal), warnings: Vec::new() }
    }
}
