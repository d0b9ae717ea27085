//! Schemas of streams.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! let schema = r#"{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}"#;
//! let checked = client.schemas().check("orders", "order.placed", schema, None).await?;
//! if checked.compatible {
//!     let schema = client.schemas().register("orders", "order.placed", schema).await?;
//!     println!("version {}", schema.version);
//! }
//! # Ok(())
//! # }
//! ```

use std::time::SystemTime;

use eventflow_proto::v1;

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::{event_to_wire, required},
    error::{FieldViolation, Result},
    event::Event,
    pages::{Pages, pages},
};

/// What happens to an event that its schema refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SchemaEnforcement {
    /// Events are not validated.
    Off,
    /// It is appended; a metric of the broker counts it.
    Warn,
    /// It is refused: `SCHEMA_VIOLATION`.
    #[default]
    Reject,
}

/// What a new version of a schema must keep of the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SchemaCompatibility {
    /// Anything goes.
    None,
    /// The new version accepts every payload that the newest one accepts.
    #[default]
    Backward,
    /// The newest version accepts every payload that the new one accepts.
    Forward,
    /// Both.
    Full,
}

/// What the schemas of a stream do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SchemaPolicy {
    /// What happens to an event that its schema refuses.
    pub enforcement: SchemaEnforcement,
    /// Which steps from one version to the next are allowed.
    pub compatibility: SchemaCompatibility,
}

/// One version of the schema of an event type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SchemaInfo {
    /// Stream name.
    pub stream: String,
    /// Event type; empty: every type that has no schema of its own.
    pub event_type: String,
    /// Version, from 1.
    pub version: u32,
    /// The JSON Schema as it was registered.
    pub definition: String,
    /// Draft that it follows, such as `2020-12`.
    pub draft: String,
    /// Database time.
    pub create_time: SystemTime,
}

/// What stands against a candidate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompatibilityReport {
    /// Registering it would be accepted.
    pub compatible: bool,
    /// The version that it was compared with; 0: there is none.
    pub compared_version: u32,
    /// The mode that it was checked by.
    pub compatibility: SchemaCompatibility,
    /// What stands against it, at most 100.
    pub problems: Vec<SchemaProblem>,
}

/// One place at which a schema may not follow another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SchemaProblem {
    /// `Backward`: the new schema refuses what the old one accepts; `Forward`: the other way round.
    pub direction: SchemaCompatibility,
    /// JSON pointer into the schema that would refuse.
    pub pointer: String,
    /// What is wrong.
    pub description: String,
    /// It could not be decided, which counts as incompatible.
    pub undecided: bool,
}

/// What a schema says about an event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ValidationReport {
    /// It fits, or no schema applies to it.
    pub valid: bool,
    /// Event type of the schema that applied.
    pub schema_event_type: String,
    /// Version of the schema that applied; 0: none.
    pub schema_version: u32,
    /// Every violation, at most 100.
    pub violations: Vec<FieldViolation>,
}

/// What a candidate says about stored events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryReport {
    /// Events that were read.
    pub read: u32,
    /// Events among them that the candidate applies to.
    pub checked: u32,
    /// Events among those that break it.
    pub broken: u32,
    /// The first of them, at most 100.
    pub events: Vec<BrokenEvent>,
}

/// A stored event that a candidate would refuse.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BrokenEvent {
    /// Partition, 0-based.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: i64,
    /// The event's type.
    pub event_type: String,
    /// The first violations.
    pub violations: Vec<FieldViolation>,
}

/// Schemas of streams. From [`Client::schemas`].
#[derive(Clone, Debug)]
pub struct Schemas {
    client: Client,
}

impl Schemas {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Registers a version of the schema of an event type; an empty type is every type that has none of its own.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`, `SCHEMA_INCOMPATIBLE`, `TOO_MANY_SCHEMAS`.
    pub async fn register(&self, stream: &str, event_type: &str, definition: &str) -> Result<SchemaInfo> {
        let request = v1::RegisterSchemaRequest {
            stream: stream.to_owned(),
            event_type: event_type.to_owned(),
            definition: definition.to_owned(),
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.schemas().register_schema(request).await }
        };
        required(self.client.unary(call).await?.schema, "schema")?.try_into()
    }

    /// The newest version, or the one that is asked for.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `SCHEMA_NOT_FOUND`.
    pub async fn get(&self, stream: &str, event_type: &str, version: Option<u32>) -> Result<SchemaInfo> {
        let request = v1::GetSchemaRequest {
            stream: stream.to_owned(),
            event_type: event_type.to_owned(),
            version: version.unwrap_or_default(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.schemas().get_schema(request).await }
        };
        required(self.client.unary(call).await?.schema, "schema")?.try_into()
    }

    /// The newest schemas of a stream, by event type; pages are fetched as the list is read.
    pub fn list(&self, stream: impl Into<String>) -> Pages<SchemaInfo> {
        let stream = stream.into();
        self.pages(v1::ListSchemasRequest { stream, newest_only: true, ..Default::default() })
    }

    /// All versions of the schema of an event type.
    pub fn versions(&self, stream: impl Into<String>, event_type: impl Into<String>) -> Pages<SchemaInfo> {
        let (stream, event_type) = (stream.into(), Some(event_type.into()));
        self.pages(v1::ListSchemasRequest { stream, event_type, ..Default::default() })
    }

    fn pages(&self, request: v1::ListSchemasRequest) -> Pages<SchemaInfo> {
        pages(self.client.clone(), move |client, page_token| {
            let request = v1::ListSchemasRequest { page_token, ..request.clone() };
            async move {
                let call = |broker: Transport| {
                    let request = request.clone();
                    async move { broker.schemas().list_schemas(request).await }
                };
                let page = client.unary(call).await?;
                let schemas = page.schemas.into_iter().map(SchemaInfo::try_from).collect::<Result<_>>()?;
                Ok((schemas, page.next_page_token))
            }
        })
    }

    /// What [`register`](Self::register) would say, under a mode or the stream's own.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn check(
        &self,
        stream: &str,
        event_type: &str,
        definition: &str,
        compatibility: Option<SchemaCompatibility>,
    ) -> Result<CompatibilityReport> {
        let compatibility = compatibility.map_or(v1::SchemaCompatibility::Unspecified, Into::into);
        let request = v1::CheckCompatibilityRequest {
            stream: stream.to_owned(),
            event_type: event_type.to_owned(),
            definition: definition.to_owned(),
            compatibility: compatibility.into(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.schemas().check_compatibility(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }

    /// What the schema of an event's type says about it; nothing is published.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn validate(&self, stream: &str, event: Event) -> Result<ValidationReport> {
        let request = v1::ValidateEventRequest { stream: stream.to_owned(), event: Some(event_to_wire(event)) };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.schemas().validate_event(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }

    /// What a candidate says about the newest stored events, at most 10,000 of them.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn check_against_history(
        &self,
        stream: &str,
        event_type: &str,
        definition: &str,
        events: u32,
    ) -> Result<HistoryReport> {
        let request = v1::CheckAgainstHistoryRequest {
            stream: stream.to_owned(),
            event_type: event_type.to_owned(),
            definition: definition.to_owned(),
            events,
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.schemas().check_against_history(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }
}
