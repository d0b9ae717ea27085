//! Retention: raises floors by age and size in short statements, then reclaims rows of segment 0 below them.

use super::Tick;
use crate::domain::Result;
use crate::domain::ids::PartitionId;
use crate::store::{Store, error::from_postgres, retention};
use crate::telemetry::metrics;

/// Partitions of one page.
const PARTITIONS: i32 = 500;
/// Rows of one reclaim statement: what one lock of a partition may cost an append.
const ROWS: i32 = 200;

/// One pass over all partitions; Again while rows are left to reclaim.
pub async fn tick(store: &Store) -> Result<Tick> {
    retention::sort_streams(&**store.conn().await?).await?;
    raise(store).await?;
    reclaim(store).await
}

async fn raise(store: &Store) -> Result<()> {
    let db = store.conn().await?;
    let mut after = PartitionId(0);
    loop {
        let targets = retention::targets(&**db, after, PARTITIONS).await?;
        let Some(last) = targets.last() else { return Ok(()) };
        after = last.partition;
        for target in targets.into_iter().filter(|target| target.target > target.floor) {
            let removed = retention::raise_floor(&**db, target).await?;
            metrics::get().reclaimed_events.increment(removed.unsigned_abs());
        }
    }
}

async fn reclaim(store: &Store) -> Result<Tick> {
    let mut db = store.conn().await?;
    let mut after = PartitionId(0);
    let mut more = Tick::Idle;
    loop {
        let partitions = retention::reclaimable(&**db, after, PARTITIONS).await?;
        let Some(last) = partitions.last() else { return Ok(more) };
        after = *last;
        for partition in partitions {
            let transaction = db.transaction().await.map_err(from_postgres)?;
            if !retention::try_lock(&*transaction, &format!("reclaim.{}", partition.0)).await? {
                continue;
            }
            let removed = retention::reclaim(&*transaction, partition, ROWS).await?;
            transaction.commit().await.map_err(from_postgres)?;
            if removed == ROWS {
                more = Tick::Again;
            }
        }
    }
}
