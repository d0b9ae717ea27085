//! Schemas of streams: registered, compared, compiled, and asked.
//!
//! Postgres is authoritative. Compiled validators are kept by stream and by the revision that stands in the stream's row, so a
//! change reaches a broker when its copy of the stream does: within the catalogue's 5 seconds. A stream without a schema, or whose
//! schemas are off, is never looked up. Registrations of a stream take turns under its row lock, so that a version is compared
//! with the one that it really follows. Never here: the wire, fetching what a schema refers to.

mod edited;
mod history;
mod kept;
mod registry;

pub use self::{
    history::{Broken, HistoryCheck, HistoryReport},
    kept::{Compiled, StreamSchemas},
    registry::{Candidate, Checked, Registered, Validated},
};

use crate::catalogue::Catalogue;
use crate::domain::Result;
use crate::domain::schema::Enforcement;
use crate::domain::stream::Stream;
use crate::store::Store;
use kept::Kept;
use std::sync::Arc;

/// A handle on all schemas. Cheap to clone.
#[derive(Clone)]
pub struct Schemas {
    store: Store,
    catalogue: Catalogue,
    kept: Arc<Kept>,
}

impl Schemas {
    pub fn new(store: Store, catalogue: Catalogue) -> Self {
        Self { store, catalogue, kept: Arc::default() }
    }

    /// The schemas that a publish to the stream must ask. None: there are none, or they are off.
    pub async fn to_ask(&self, stream: &Stream) -> Result<Option<Arc<StreamSchemas>>> {
        if stream.schema_revision == 0 || stream.schema_policy.enforcement == Enforcement::Off {
            return Ok(None);
        }
        self.of(stream).await.map(Some)
    }

    async fn of(&self, stream: &Stream) -> Result<Arc<StreamSchemas>> {
        if stream.schema_revision == 0 {
            return Ok(Arc::default());
        }
        self.kept.get(stream.id, stream.schema_revision, kept::load(&self.store, stream)).await
    }
}
