//! The rules of a stream as a member carries them out: one set for each delivery, whatever changes meanwhile.

use crate::domain::Result;
use crate::domain::rule::Rule;
use crate::domain::rule::apply::{Processed, Source, apply};
use crate::store::rules::{self as stored, Pipeline};
use crate::store::{Store, Tenant};
use std::sync::Arc;

/// Rules in their order. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Chain(Arc<[Rule]>);

impl Chain {
    /// The rules of a pipeline as they are now.
    pub async fn load(store: &Store, pipeline: &Pipeline) -> Result<Self> {
        let list = |tenant: Tenant| async move { stored::list(&tenant, pipeline.stream_id).await };
        Ok(Self(store.tenant(pipeline.organization, list).await?.into()))
    }

    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// Whether none of them would do anything.
    pub fn is_idle(&self) -> bool {
        self.0.iter().all(|rule| rule.disabled)
    }

    pub fn apply(&self, source: &Source<'_>) -> Processed {
        apply(&self.0, source)
    }

    /// The name of the rule at an index.
    pub fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |rule| rule.name.as_str())
    }
}
