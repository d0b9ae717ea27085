//! Edits of dead letters, which a schema may refuse as it would have refused the publish.

use crate::catalogue::{Answer, DeadLetterEdit, Once};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::Event;
use crate::domain::schema::{Enforcement, Fault, called};
use crate::domain::{Applied, Error, Reason, Result};
use crate::identity::{Granted, ManageGroups};
use crate::schemas::{Schemas, StreamSchemas};
use std::sync::Arc;

impl Schemas {
    /// Edits the event of a dead letter. Only a new payload is asked about: one that is left alone was let through once, and
    /// may be older than the schema. Schemas are as fresh here as they are for a publish.
    pub async fn edit_dead_letter(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<DeadLetter>,
        wanted: &DeadLetterEdit,
    ) -> Result<Answer<DeadLetter>> {
        let schemas = match wanted.edit.payload {
            Some(_) => self.to_reject_by(granted, wanted).await?,
            None => None,
        };
        let check = |event: &Event| schemas.as_ref().map_or(Ok(()), |schemas| fits(schemas, event));
        self.catalogue.edit_dead_letter(granted, once, wanted, check).await
    }

    /// The schemas of the group's stream; None: they refuse nothing.
    async fn to_reject_by(
        &self,
        granted: &Granted<ManageGroups>,
        wanted: &DeadLetterEdit,
    ) -> Result<Option<Arc<StreamSchemas>>> {
        let group = self.catalogue.group(granted, &wanted.group).await?;
        let stream = self.catalogue.stream(granted, &group.stream).await?;
        match stream.schema_policy.enforcement {
            Enforcement::Reject => self.to_ask(&stream).await,
            Enforcement::Off | Enforcement::Warn => Ok(None),
        }
    }
}

fn fits(schemas: &StreamSchemas, event: &Event) -> Result<()> {
    let Some(schema) = schemas.of(&event.kind) else { return Ok(()) };
    let faults = schema.faults(&event.payload);
    let Some(first) = faults.first() else { return Ok(()) };
    let (called, version) = (called(&schema.event_type), schema.version);
    let message = format!("`event.payload{}`: {} (version {version} of {called})", first.pointer, first.description);
    let error = Error::new(Reason::SchemaViolation, message).fact("schema_version", version).applied(Applied::No);
    let named =
        |error: Error, fault: Fault| error.violation(format!("event.payload{}", fault.pointer), fault.description);
    Err(faults.into_iter().fold(error, named))
}
