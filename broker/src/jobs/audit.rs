//! Forgets entries of the audit log beyond its retention.

use super::Tick;
use crate::domain::Result;
use crate::store::{Store, audit, error::from_postgres, retention};
use std::time::Duration;

/// Entries that one tick takes: when so many went, there may be more.
const AT_ONCE: i32 = 10_000;

pub async fn tick(store: &Store, kept: Duration) -> Result<Tick> {
    let mut db = store.conn().await?;
    let transaction = db.transaction().await.map_err(from_postgres)?;
    if !retention::try_lock(&*transaction, "audit").await? {
        return Ok(Tick::Idle);
    }
    let gone = audit::prune(&*transaction, kept, AT_ONCE).await?;
    transaction.commit().await.map_err(from_postgres)?;
    Ok(if gone >= i64::from(AT_ONCE) { Tick::Again } else { Tick::Idle })
}
