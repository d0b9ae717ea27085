//! What became of single events, by the database's word: dead letters, retries on their way, claims.

use std::collections::HashMap;

use serde::Deserialize;
use tokio_postgres::{Client, Row};

use super::group;
use crate::Result;
use crate::history::{Claim, FailedAttempt, Key, Left, Record};
use crate::load::World;

/// A failed attempt as the broker writes it.
#[derive(Deserialize)]
struct Attempt {
    attempt: u32,
    member: Option<String>,
    error_class: String,
    reason: String,
}

pub async fn dump(world: &World, client: &Client, keys: &HashMap<i64, Key>) -> Result<()> {
    for (table, dead) in [("dead_letter_event", true), ("retry", false)] {
        let sql = format!(
            "select g.name, o.name, x.partition_id, x.event_offset, x.attempts, x.history::text, x.payload \
             from eventflow.{table} x join eventflow.consumer_group g using (group_id) \
             join eventflow.organization o on o.organization_id = g.organization_id"
        );
        for row in client.query(&sql, &[]).await? {
            if let Some((g, k)) = place(world, keys, &row) {
                world.recorder.write(&Record::Left(left(world, &row, (g, k), dead)?));
            }
        }
    }
    let sql = "select g.name, o.name, c.partition_id, c.from_offset, c.to_offset, \
                      array(select lower(d.r) from unnest(c.done) d(r) order by 1), \
                      array(select upper(d.r) from unnest(c.done) d(r) order by 1) \
               from eventflow.group_claim c join eventflow.consumer_group g using (group_id) \
               join eventflow.organization o on o.organization_id = g.organization_id";
    for row in client.query(sql, &[]).await? {
        let Some((g, k)) = place(world, keys, &row) else { continue };
        let (from, to): (Vec<i64>, Vec<i64>) = (row.get(5), row.get(6));
        let done = from.into_iter().zip(to).collect();
        world.recorder.write(&Record::Claim(Claim { g, k, from: row.get(3), to: row.get(4), done }));
    }
    Ok(())
}

fn place(world: &World, keys: &HashMap<i64, Key>, row: &Row) -> Option<(u16, Key)> {
    Some((group(world, row.get(0), row.get(1))?, *keys.get(&row.get(2))?))
}

fn left(world: &World, row: &Row, (g, k): (u16, Key), dead: bool) -> Result<Left> {
    let (off, history, payload): (i64, String, &[u8]) = (row.get(3), row.get(5), row.get(6));
    let history: Vec<Attempt> = serde_json::from_str(&history)?;
    let failed = |attempt: Attempt| FailedAttempt {
        attempt: attempt.attempt,
        member: attempt.member.unwrap_or_default(),
        class: attempt.error_class,
        reason: attempt.reason,
    };
    let (runs, bad) = world.runs(off, std::iter::once(payload));
    let attempts = row.get::<_, i32>(4) as u32;
    Ok(Left { g, k, off, dead, attempts, history: history.into_iter().map(failed).collect(), runs, bad })
}
