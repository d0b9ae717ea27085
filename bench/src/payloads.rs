//! Payloads from one seeded generator: JSON with random ids and numbers, or bytes that nothing compresses.
//!
//! They are made before the clock starts and lie in one piece of memory; taking one copies nothing. There are so many that
//! they repeat far beyond the window of any compression (64 KiB), so a repeat is as incompressible as a new one.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use std::fmt::Write;

use crate::Result;

/// The seed of every run.
const SEED: u64 = 0x6576_656e_7466;
/// Payloads of a pool take about this much, whatever their size.
const POOL_BYTES: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    Incompressible,
}

/// Payloads of one kind and size, taken in turns.
#[derive(Clone)]
pub struct Pool {
    payloads: std::sync::Arc<[Bytes]>,
    next: usize,
}

impl Pool {
    pub fn new(kind: Kind, size: usize) -> Self {
        let mut random = StdRng::seed_from_u64(SEED ^ size as u64);
        let count = POOL_BYTES / size.max(1);
        let mut all = Vec::with_capacity(count * size);
        for _ in 0..count {
            match kind {
                Kind::Json => push_json(&mut random, size, &mut all),
                Kind::Incompressible => {
                    let start = all.len();
                    all.resize(start + size, 0);
                    random.fill_bytes(&mut all[start..]);
                }
            }
        }
        let all = Bytes::from(all);
        let payloads = (0..count).map(|index| all.slice(index * size..(index + 1) * size)).collect();
        Self { payloads, next: 0 }
    }

    pub fn next(&mut self) -> Bytes {
        let payload = self.payloads[self.next].clone();
        self.next = (self.next + 1) % self.payloads.len();
        payload
    }
}

/// An order of exactly `size` bytes, at least 150: fixed names, random values, and as many positions as fit.
fn push_json(random: &mut StdRng, size: usize, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(size + 64);
    let _ = write!(
        text,
        r#"{{"order_id":"{:016x}","customer":{},"total":{}.{:02},"currency":"EUR","items":["#,
        random.next_u64(),
        random.random_range(1..10_000_000),
        random.random_range(1..10_000),
        random.random_range(0..100),
    );
    let end = r#"],"note":""}"#.len();
    loop {
        let item = format!(
            r#"{{"sku":"{:08x}","quantity":{},"price":{}}}"#,
            random.next_u32(),
            random.random_range(1..20),
            random.random_range(100..100_000),
        );
        let comma = usize::from(!text.ends_with('['));
        if text.len() + comma + item.len() + end > size {
            break;
        }
        text.push_str(if comma == 1 { "," } else { "" });
        text.push_str(&item);
    }
    text.push_str(r#"],"note":""#);
    while text.len() + 2 < size {
        text.push(char::from(random.sample(rand::distr::Alphanumeric)));
    }
    text.push_str("\"}");
    out.extend_from_slice(text.as_bytes());
}

/// How well a row's worth of payloads compresses, by the server's own lz4: stored bytes by bytes.
pub async fn lz4_ratio(sql: &tokio_postgres::Client, kind: Kind, size: usize) -> Result<f64> {
    let mut pool = Pool::new(kind, size);
    let block: Vec<u8> = (0..200_000 / size).flat_map(|_| pool.next()).collect();
    sql.batch_execute(
        "create temp table if not exists sample (block bytea compression lz4);
         alter table sample alter column block set storage main; truncate sample",
    )
    .await?;
    sql.execute("insert into sample values ($1)", &[&block]).await?;
    let row = sql.query_one("select pg_column_size(block)::float8 / octet_length(block) from sample", &[]).await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_payloads() {
        let take = |kind, size| {
            let mut pool = Pool::new(kind, size);
            (0..100).map(|_| pool.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(Kind::Json, 200), take(Kind::Json, 200));
        assert_eq!(take(Kind::Incompressible, 200), take(Kind::Incompressible, 200));
        assert_ne!(take(Kind::Json, 200), take(Kind::Incompressible, 200));
    }

    #[test]
    fn json_payloads_are_json_of_the_size_asked_for() {
        for size in [200, 1_000] {
            let mut pool = Pool::new(Kind::Json, size);
            for _ in 0..500 {
                let payload = pool.next();
                assert_eq!(payload.len(), size);
                let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
                assert!(value["items"].as_array().is_some_and(|items| !items.is_empty()));
            }
        }
    }

    #[test]
    fn payloads_are_taken_in_turns() {
        let mut pool = Pool::new(Kind::Json, 1_000);
        let first = pool.next();
        let count = pool.payloads.len();
        assert_ne!(first, pool.next());
        (2..count).for_each(|_| drop(pool.next()));
        assert_eq!(first, pool.next());
    }
}
