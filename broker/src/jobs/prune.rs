//! Forgets producer runs that are beyond what is remembered, old answers of administrative requests, sessions that ended long
//! ago, and idempotency keys that their stream no longer keeps.

use super::Tick;
use crate::domain::Result;
use crate::store::{Store, error::from_postgres, retention};

/// Keys that one tick takes of a partition: when so many went, there may be more.
const KEYS_AT_ONCE: i64 = 10_000;

pub async fn tick(store: &Store) -> Result<Tick> {
    let mut db = store.conn().await?;
    let transaction = db.transaction().await.map_err(from_postgres)?;
    if retention::try_lock(&*transaction, "prune").await? {
        retention::prune_runs(&*transaction).await?;
        retention::prune_sessions(&*transaction).await?;
        let keys = retention::prune_keys(&*transaction).await?;
        transaction.commit().await.map_err(from_postgres)?;
        if keys >= KEYS_AT_ONCE {
            return Ok(Tick::Again);
        }
    }
    Ok(Tick::Idle)
}
