//! Compiled schemas in memory: compiled once for each revision of a stream, whoever asks.

use crate::domain::Result;
use crate::domain::ids::StreamId;
use crate::domain::schema::{Definition, Fault, Validator};
use crate::domain::stream::Stream;
use crate::store::{Store, schemas};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Text of the schemas that are kept, in bytes; what they are compiled to is a few times that.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// A schema, ready to be asked.
#[derive(Debug)]
pub struct Compiled {
    /// Empty: every type that has none of its own.
    pub event_type: String,
    pub version: i32,
    validator: Validator,
}

impl Compiled {
    pub fn faults(&self, payload: &[u8]) -> Vec<Fault> {
        self.validator.faults(payload)
    }
}

/// The newest schemas of a stream.
#[derive(Debug, Default)]
pub struct StreamSchemas {
    by_type: HashMap<String, Compiled>,
    bytes: usize,
}

impl StreamSchemas {
    /// The schema that applies to events of a type.
    pub fn of(&self, event_type: &str) -> Option<&Compiled> {
        self.by_type.get(event_type).or_else(|| self.by_type.get(""))
    }

    /// Whether a type has a schema of its own.
    pub fn has(&self, event_type: &str) -> bool {
        self.by_type.contains_key(event_type)
    }
}

type Load = Arc<OnceCell<Arc<StreamSchemas>>>;

/// Schemas by stream, of its newest known revision.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<StreamId, (i64, Load)>>);

impl Kept {
    /// What is kept of a revision, or what `load` finds, which is not polled otherwise. A failure is not kept.
    pub(super) async fn get(
        &self,
        stream: StreamId,
        revision: i64,
        load: impl Future<Output = Result<StreamSchemas>>,
    ) -> Result<Arc<StreamSchemas>> {
        let entry = self.entry(stream, revision);
        let loaded = entry.get_or_try_init(|| async { load.await.map(Arc::new) }).await?;
        Ok(loaded.clone())
    }

    fn entry(&self, stream: StreamId, revision: i64) -> Load {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get(&stream) {
            // A caller with an older copy of the stream gets the newer schemas, which are there already.
            Some((kept, load)) if *kept >= revision => return load.clone(),
            _ => {}
        }
        let bytes = |(_, load): &(i64, Load)| load.get().map_or(0, |schemas| schemas.bytes);
        if entries.values().map(bytes).sum::<usize>() > KEPT_BYTES {
            // More than fits: everybody loads once more, and memory stays bounded.
            entries.clear();
        }
        let load = Load::default();
        entries.insert(stream, (revision, load.clone()));
        load
    }
}

/// Reads and compiles the newest schemas of a stream.
pub(super) async fn load(store: &Store, stream: &Stream) -> Result<StreamSchemas> {
    let newest = |tenant| async move { schemas::newest(&tenant, stream.id).await };
    let mut loaded = StreamSchemas::default();
    for schema in store.tenant(stream.organization, newest).await? {
        let validator = Definition::parse("definition", &schema.definition)?.compile()?;
        loaded.bytes += schema.definition.len();
        let compiled = Compiled { event_type: schema.event_type.clone(), version: schema.version, validator };
        loaded.by_type.insert(schema.event_type, compiled);
        // Compiling takes its time: others may go on in between.
        tokio::task::yield_now().await;
    }
    Ok(loaded)
}
