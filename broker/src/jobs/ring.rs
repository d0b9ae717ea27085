//! The ring of segments: turns it, and truncates segments in which nothing can be read any more.

use super::Tick;
use crate::domain::Result;
use crate::store::{Store, retention};
use std::time::Duration;

/// Between looks. A look at a ring that has nothing to do costs the sizes of four tables.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// What a segment holds at least, unless an hour passes: the disk that the ring takes beside what is kept is a few of these.
const SEGMENT_BYTES: i64 = 256 << 20;
/// Rows moved under one lock of a partition: what that may cost an append.
const ROWS: i32 = 200;

/// One step; Again when it did something.
pub async fn tick(store: &Store) -> Result<Tick> {
    let db = store.conn().await?;
    Ok(match retention::turn_ring(&**db, SEGMENT_BYTES, ROWS).await? {
        retention::Turn::Done => Tick::Again,
        retention::Turn::Waiting | retention::Turn::Idle => Tick::Idle,
    })
}
