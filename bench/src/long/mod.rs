//! Runs of minutes: what time does to throughput, latency and the size of tables.

pub mod held_transaction;
pub mod neighbour;
pub mod reclaim;
mod record;
