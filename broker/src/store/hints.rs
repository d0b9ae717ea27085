//! LISTEN and NOTIFY, for hints only. A payload is at most 8,000 bytes.

use crate::domain::Result;
use crate::store::{Client, error::from_postgres};

pub async fn listen(db: &impl Client) -> Result<()> {
    db.batch_execute("listen eventflow").await.map_err(from_postgres)
}

/// Tells all brokers; not inside any other transaction.
pub async fn notify(db: &impl Client, text: &str) -> Result<()> {
    db.execute("select pg_notify('eventflow', $1)", &[&text]).await.map_err(from_postgres)?;
    Ok(())
}
