//! `[database]`: Postgres.

use super::reader::Reader;
use std::{fmt, time::Duration};

#[derive(Clone)]
pub struct Database {
    /// Connection string. May hold a password: never log it.
    pub url: String,
    /// Connections for reads and administration.
    pub pool_size: usize,
    /// Connections that append.
    pub lanes: usize,
    pub connect_timeout: Duration,
    pub allow_unsafe_durability: bool,
}

impl Database {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let url = reader.text("database.url");
        if url.is_empty() {
            reader.refuse("database.url", "``", "must be set, best as EVENTFLOW_DATABASE_URL");
        } else if !is_connection_string(&url) {
            let allowed = "must be `postgres://…` or `host=… user=…`";
            reader.refuse("database.url", "(hidden)", allowed);
        }
        Self {
            url,
            pool_size: reader.size("database.pool_size", "connections", 1..=1_000),
            lanes: reader.size("database.lanes", "connections", 1..=64),
            connect_timeout: reader.milliseconds("database.connect_timeout_ms", 100..=300_000),
            allow_unsafe_durability: reader.flag("database.allow_unsafe_durability"),
        }
    }
}

/// Roughly; the parser of the `store` room has the last word.
fn is_connection_string(text: &str) -> bool {
    let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    is_url || (text.contains('=') && !text.contains("://"))
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("url", &"(hidden)")
            .field("pool_size", &self.pool_size)
            .field("lanes", &self.lanes)
            .field("connect_timeout", &self.connect_timeout)
            .field("allow_unsafe_durability", &self.allow_unsafe_durability)
            .finish()
    }
}
