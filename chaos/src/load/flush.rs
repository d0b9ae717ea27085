//! Looks how far the write-ahead log is flushed, right after an acknowledgement.

use tokio_postgres::Client;

use super::world::{FlushSample, World};
use crate::history::Key;

/// One acknowledgement of so many is looked at.
const EVERY: u32 = 7;

/// A connection of its own to the database, past all proxies; made again when it breaks.
pub struct FlushProbe {
    client: Option<Client>,
    seen: u32,
}

impl FlushProbe {
    /// None in runs whose database is not one server from beginning to end.
    pub fn new(world: &World) -> Option<FlushProbe> {
        (!world.setup.has_failover()).then_some(FlushProbe { client: None, seen: 0 })
    }

    pub async fn sample(&mut self, world: &World, k: Key, off: i64) {
        self.seen += 1;
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = world.ground.postgres.connect().await.ok();
        }
        let Some(client) = self.client.as_ref().filter(|_| self.seen.is_multiple_of(EVERY)) else { return };
        let asked = client.query_one("select (pg_current_wal_flush_lsn() - '0/0')::bigint", &[]).await;
        if let Ok(row) = asked {
            let flushed = row.get::<_, i64>(0) as u64;
            let mut samples = world.flush.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            samples.push(FlushSample { k, off, t: world.now(), flushed });
        }
    }
}
