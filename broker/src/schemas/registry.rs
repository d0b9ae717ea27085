//! Registering schemas, and asking what would be.

use crate::catalogue::{Answer, Once, Page, existing};
use crate::domain::audit::Target;
use crate::domain::event::Event;
use crate::domain::ids::StreamName;
use crate::domain::limits::{SCHEMA_TYPES_MAX, SCHEMA_VERSIONS_MAX};
use crate::domain::page::{List, page_size};
use crate::domain::schema::compatibility::{Problem, problems};
use crate::domain::schema::{
    Compatibility, Definition, Fault, Listed, Schema, schema_incompatible, schema_not_found, too_many_schemas,
};
use crate::domain::stream::stream_not_found;
use crate::domain::{Error, Result};
use crate::identity::{Describe, Granted, ManageStreams};
use crate::schemas::Schemas;
use crate::store::schemas as stored;
use crate::store::{Tenant, streams};

/// Bytes of definitions after which a page ends.
const PAGE_BYTES: usize = 1024 * 1024;
/// Stands between type and version in a page token; no type holds it.
const BETWEEN: char = '\0';

/// A schema to be registered, or only looked at.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub stream: StreamName,
    pub event_type: String,
    pub text: String,
    pub definition: Definition,
}

/// A schema as it was registered.
#[derive(Debug)]
pub struct Registered {
    pub stream: StreamName,
    pub schema: Schema,
}

/// What stands against a candidate.
#[derive(Debug)]
pub struct Checked {
    /// The version that it was compared with; 0: none.
    pub compared_version: i32,
    pub mode: Compatibility,
    pub problems: Vec<Problem>,
}

/// What a schema says about an event.
#[derive(Debug)]
pub struct Validated {
    /// Type and version of the schema that applied.
    pub by: Option<(String, i32)>,
    pub faults: Vec<Fault>,
}

impl Schemas {
    /// Adds a version, unless it equals the newest one.
    pub async fn register(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Registered>,
        candidate: &Candidate,
    ) -> Result<Answer<Registered>> {
        let organization = granted.organization();
        let registered = |made: &Registered| {
            let version = format!("version {}", made.schema.version);
            Target::schema(&candidate.stream, &candidate.event_type).saying(version)
        };
        let answer = self.store.change(granted.actor(), once, registered, |tenant| async move {
            let schema = add(&tenant, granted, candidate).await?;
            Ok(Registered { stream: candidate.stream.clone(), schema })
        });
        let answer = answer.await?;
        self.catalogue.invalidate(organization, &candidate.stream);
        Ok(answer)
    }

    /// A version of a schema; 0 is the newest.
    pub async fn get(
        &self,
        granted: &Granted<Describe>,
        stream: &StreamName,
        event_type: &str,
        version: i32,
    ) -> Result<Schema> {
        let get = |tenant: Tenant| async move {
            let id = existing(&tenant, granted, stream).await?.id;
            let found = stored::find(&tenant, id, event_type, version).await?;
            found.ok_or_else(|| schema_not_found(stream, event_type, version))
        };
        self.store.tenant(granted.organization(), get).await
    }

    /// A page of a stream's schemas by type and version.
    pub async fn list(
        &self,
        granted: &Granted<Describe>,
        stream: &StreamName,
        listed: &Listed,
        size: u32,
        token: &str,
    ) -> Result<Page<Schema>> {
        let organization = granted.organization();
        let size = page_size("page_size", size)?;
        let filter = format!("{stream}{BETWEEN}{:?}{BETWEEN}{}", listed.event_type, listed.newest_only);
        let list = List { organization, method: "ListSchemas", filter: &filter };
        let token = self.catalogue.page_key().await?.open(list, token)?;
        let (after_type, after_version) = token.split_once(BETWEEN).unwrap_or(("", "0"));
        let after = (after_type, after_version.parse().unwrap_or(0));
        let found = |tenant: Tenant| async move {
            let id = existing(&tenant, granted, stream).await?.id;
            stored::list(&tenant, id, listed, after, size + 1).await
        };
        let mut found = self.store.tenant(organization, found).await?;
        let fits = fitting(&found).min(size as usize);
        found.truncate(fits + 1);
        let place = |schema: &Schema| format!("{}{BETWEEN}{}", schema.event_type, schema.version);
        Ok(self.catalogue.page_key().await?.page(list, fits as u32, found, place))
    }

    /// What registering would say, under a mode or the stream's.
    pub async fn check(
        &self,
        granted: &Granted<Describe>,
        candidate: &Candidate,
        mode: Option<Compatibility>,
    ) -> Result<Checked> {
        let newest = |tenant: Tenant| async move {
            let stream = existing(&tenant, granted, &candidate.stream).await?;
            let newest = stored::find(&tenant, stream.id, &candidate.event_type, 0).await?;
            Ok((stream.schema_policy.compatibility, newest))
        };
        let (of_stream, newest) = self.store.tenant(granted.organization(), newest).await?;
        let mode = mode.unwrap_or(of_stream);
        match newest {
            None => Ok(Checked { compared_version: 0, mode, problems: Vec::new() }),
            Some(newest) => {
                let problems = compare(mode, &newest, candidate)?;
                Ok(Checked { compared_version: newest.version, mode, problems })
            }
        }
    }

    /// What the schema that applies to an event says about it, whatever the stream does with that.
    pub async fn validate(&self, granted: &Granted<Describe>, stream: &StreamName, event: &Event) -> Result<Validated> {
        let stream = self.catalogue.get_stream(granted, stream).await?;
        let schemas = self.of(&stream).await?;
        Ok(match schemas.of(&event.kind) {
            None => Validated { by: None, faults: Vec::new() },
            Some(schema) => {
                let by = Some((schema.event_type.clone(), schema.version));
                Validated { by, faults: schema.faults(&event.payload) }
            }
        })
    }
}

/// The newest version when it equals the candidate, otherwise a new one.
async fn add(tenant: &Tenant, granted: &Granted<ManageStreams>, candidate: &Candidate) -> Result<Schema> {
    granted.check(&candidate.stream)?;
    // Alone: the newest version must still be that when this one is there.
    let id = streams::lock(tenant, &candidate.stream).await?;
    let id = id.ok_or_else(|| stream_not_found(candidate.stream.as_str()))?;
    let mode = existing(tenant, granted, &candidate.stream).await?.schema_policy.compatibility;
    let version = match stored::find(tenant, id, &candidate.event_type, 0).await? {
        Some(newest) if newest.definition == candidate.text => return Ok(newest),
        Some(newest) => {
            let problems = compare(mode, &newest, candidate)?;
            if !problems.is_empty() {
                return Err(schema_incompatible(&candidate.event_type, newest.version, mode, &problems));
            }
            newest.version + 1
        }
        None if stored::count_types(tenant, id).await? >= SCHEMA_TYPES_MAX => {
            return Err(too_many_schemas("event types with a schema", SCHEMA_TYPES_MAX));
        }
        None => 1,
    };
    if version as usize > SCHEMA_VERSIONS_MAX {
        return Err(too_many_schemas("versions of a schema", SCHEMA_VERSIONS_MAX));
    }
    stored::add(tenant, id, &candidate.event_type, version, &candidate.text).await?;
    let added = stored::find(tenant, id, &candidate.event_type, version).await?;
    added.ok_or_else(|| Error::internal("a schema that was just added is not there"))
}

fn compare(mode: Compatibility, newest: &Schema, candidate: &Candidate) -> Result<Vec<Problem>> {
    if mode == Compatibility::None || newest.definition == candidate.text {
        return Ok(Vec::new());
    }
    Ok(problems(mode, &Definition::parse("definition", &newest.definition)?, &candidate.definition))
}

/// How many schemas fit into a page, at least one.
fn fitting(schemas: &[Schema]) -> usize {
    let mut bytes = 0;
    let fits = schemas.iter().take_while(|schema| {
        bytes += schema.definition.len();
        bytes <= PAGE_BYTES
    });
    fits.count().max(1)
}
