//! The keys that sign access tokens, the same for all brokers.

use crate::domain::Result;
use crate::store::{Client, error::from_postgres};

/// A key that tokens may be signed with.
pub struct SigningKey {
    pub id: String,
    pub private_pkcs8: Vec<u8>,
    pub public: Vec<u8>,
    /// The one that signs now.
    pub signs: bool,
    /// It is time for another one.
    pub due: bool,
}

/// Keys that are good, newest first.
pub async fn list(client: &impl Client) -> Result<Vec<SigningKey>> {
    let rows = client.query(include_str!("sql/signing_key/list.sql"), &[]).await.map_err(from_postgres)?;
    let key = |row: &tokio_postgres::Row| SigningKey {
        id: row.get("key_id"),
        private_pkcs8: row.get("private_pkcs8"),
        public: row.get("public_key"),
        signs: row.get("signs"),
        due: row.get("due"),
    };
    Ok(rows.iter().map(key).collect())
}

/// Adds a key, unless somebody else just did.
pub async fn add(client: &impl Client, id: &str, private_pkcs8: &[u8], public: &[u8]) -> Result<()> {
    let sql = include_str!("sql/signing_key/add.sql");
    client.execute(sql, &[&id, &private_pkcs8, &public]).await.map(drop).map_err(from_postgres)
}
