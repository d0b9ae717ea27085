//! Forgets producer runs that are beyond what is remembered, old answers of administrative requests,
//! and sessions that ended long ago.

use super::Tick;
use crate::domain::Result;
use crate::store::{Store, error::from_postgres, retention};

pub async fn tick(store: &Store) -> Result<Tick> {
    let mut db = store.conn().await?;
    let transaction = db.transaction().await.map_err(from_postgres)?;
    if retention::try_lock(&*transaction, "prune").await? {
        retention::prune_runs(&*transaction).await?;
        retention::prune_sessions(&*transaction).await?;
        transaction.commit().await.map_err(from_postgres)?;
    }
    Ok(Tick::Idle)
}
