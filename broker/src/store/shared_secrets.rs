//! Keys that all brokers share.

use crate::domain::Result;
use crate::store::{Client, error::from_postgres};

/// The secret of that name, 32 bytes; made by whoever asks first.
pub async fn get(client: &impl Client, name: &str) -> Result<Vec<u8>> {
    let row = client.query_one(include_str!("sql/shared_secret/get.sql"), &[&name]).await.map_err(from_postgres)?;
    Ok(row.get("value"))
}
