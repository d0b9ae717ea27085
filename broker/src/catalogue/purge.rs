//! Raising the floor of a stream by hand.

use crate::catalogue::{Answer, Catalogue, Once, streams::existing};
use crate::domain::audit::Target;
use crate::domain::ids::{PartitionId, StreamName};
use crate::domain::{Error, Result};
use crate::identity::{Granted, ManageStreams};
use crate::store::{Tenant, streams};

/// What is to go.
#[derive(Clone, Debug)]
pub struct Purge {
    pub stream: StreamName,
    /// All partitions when absent.
    pub partition: Option<u32>,
    pub before: PurgeBefore,
}

/// Up to where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeBefore {
    /// Below this offset of the one partition.
    Offset(i64),
    /// Appended before this time, microseconds since 1970.
    Time(i64),
    /// All that is there now.
    Everything,
}

/// How many events can no longer be read.
#[derive(Clone, Copy, Debug)]
pub struct Purged {
    pub events: i64,
}

impl Catalogue {
    /// Raises floors.
    pub async fn purge_stream(
        &self,
        granted: &Granted<ManageStreams>,
        once: &Once<Purged>,
        purge: &Purge,
    ) -> Result<Answer<Purged>> {
        let purged = |purged: &Purged| Target::stream(&purge.stream).saying(format!("{} events", purged.events));
        self.0
            .store
            .change(granted.actor(), once, purged, |tenant| async move {
                let stream = existing(&tenant, granted, &purge.stream).await?;
                let partitions = match purge.partition {
                    Some(index) => vec![stream.partition(index)?],
                    None => stream.partitions,
                };
                let floors = floors(&tenant, &partitions, purge).await?;
                Ok(Purged { events: streams::raise_floors(&tenant, &floors).await? })
            })
            .await
    }
}

async fn floors(tenant: &Tenant, partitions: &[PartitionId], purge: &Purge) -> Result<Vec<(PartitionId, i64)>> {
    match purge.before {
        PurgeBefore::Time(time) => {
            let offsets = streams::offsets_at_time(tenant, partitions, time).await?;
            Ok(partitions.iter().zip(offsets).filter_map(|(id, offset)| Some((*id, offset?))).collect())
        }
        PurgeBefore::Everything => {
            let bounds = streams::bounds(tenant, partitions).await?;
            Ok(bounds.into_iter().map(|(id, bounds)| (id, bounds.head)).collect())
        }
        PurgeBefore::Offset(offset) => {
            let index = purge.partition.ok_or_else(|| Error::invalid("partition", "is needed with an offset"))?;
            let bounds = streams::bounds(tenant, partitions).await?;
            bounds.iter().try_for_each(|(_, bounds)| bounds.check_head(index, offset))?;
            Ok(bounds.into_iter().map(|(id, _)| (id, offset)).collect())
        }
    }
}
