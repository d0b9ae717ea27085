//! What the servers use: processor time from `/proc`, bytes from Postgres itself.

use std::fs;

use tokio_postgres::Client;

use crate::Result;

/// Ticks a second in `/proc/PID/stat`, the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    broker_seconds: f64,
    postgres_seconds: f64,
    log_bytes: i64,
    wal_bytes: i64,
}

/// What lies between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub broker_seconds: f64,
    pub postgres_seconds: f64,
    /// Growth of the log and the producers' runs, with TOAST and indexes.
    pub log_bytes: i64,
    pub wal_bytes: i64,
}

impl Usage {
    pub async fn now(sql: &Client, brokers: &[u32], postgres: u32) -> Result<Self> {
        let row = sql
            .query_one(
                "select (select sum(pg_total_relation_size(relid))::bigint from pg_partition_tree('eventflow.event_batch'))
                            + pg_total_relation_size('eventflow.producer_run'),
                        (pg_current_wal_lsn() - '0/0')::bigint",
                &[],
            )
            .await?;
        Ok(Self {
            broker_seconds: brokers.iter().filter_map(|pid| Times::of(*pid)).map(|times| times.own).sum(),
            postgres_seconds: with_children(postgres),
            log_bytes: row.try_get(0)?,
            wal_bytes: row.try_get(1)?,
        })
    }

    pub fn since(&self, before: &Self) -> Spent {
        Spent {
            broker_seconds: self.broker_seconds - before.broker_seconds,
            postgres_seconds: self.postgres_seconds - before.postgres_seconds,
            log_bytes: self.log_bytes - before.log_bytes,
            wal_bytes: self.wal_bytes - before.wal_bytes,
        }
    }
}

/// Processor seconds of this process so far.
pub fn of_this_process() -> Result<f64> {
    let times = Times::of(std::process::id()).ok_or("the processor time of this process is not in /proc")?;
    Ok(times.own)
}

/// Bytes of memory of a process.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// A process and its children, those that have ended included.
fn with_children(parent: u32) -> f64 {
    let children: f64 = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Times::of)
        .filter(|times| times.parent == parent)
        .map(|times| times.own)
        .sum();
    children + Times::of(parent).map_or(0.0, |times| times.own + times.ended_children)
}

/// Processor seconds of one process.
struct Times {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Times {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: (ticks(11)? + ticks(12)?) / TICKS,
            ended_children: (ticks(13)? + ticks(14)?) / TICKS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Times, resident};

    #[test]
    fn memory_is_what_is_resident() {
        assert_eq!(resident("Name:\tx\nVmSize:\t  99 kB\nVmRSS:\t  2048 kB\n"), Some(2 << 20));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn processor_time_is_read_whatever_the_name_of_the_process() {
        let stat = "42 (post) gres: (x) S 7 42 42 0 -1 4194560 1 2 0 0 150 50 30 20 20 0 1 0 100 200 300";
        let times = Times::parse(stat).expect("a stat line");
        assert_eq!(times.parent, 7);
        assert_eq!((times.own, times.ended_children), (2.0, 0.5));
    }
}
