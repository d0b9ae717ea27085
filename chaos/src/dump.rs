//! The white box: the log, its bounds, every group's progress and what failed in it, as the database holds them, read past all
//! brokers; before that, the same log once more through a broker.

mod outcomes;

use std::collections::HashMap;

use rand::Rng;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::Result;
use crate::ground::{BROKERS, ORGANIZATIONS};
use crate::history::{Bounds, Flushed, Group, Key, Progress, Record, Row};
use crate::load::{FlushSample, World, range};

/// Partition ids and what a run calls them.
async fn partitions(world: &World, client: &Client) -> Result<HashMap<i64, Key>> {
    let sql = "select p.partition_id, o.name, s.name, p.partition_index from eventflow.stream_partition p \
               join eventflow.stream s on s.stream_id = p.stream_id and s.deleted_at is null \
               join eventflow.organization o on o.organization_id = s.organization_id";
    let mut keys = HashMap::new();
    for row in client.query(sql, &[]).await? {
        let (organization, name): (String, String) = (row.get(1), row.get(2));
        let owner = ORGANIZATIONS.iter().position(|known| *known == organization);
        let stream = world
            .setup
            .streams
            .iter()
            .position(|stream| Some(usize::from(stream.organization)) == owner && stream.name == name);
        if let Some(stream) = stream {
            keys.insert(row.get(0), Key(stream as u16, row.get::<_, i32>(3) as u16));
        }
    }
    Ok(keys)
}

/// Reads every partition from its floor to its end through a broker, then damages a row and reads over it.
pub async fn last_reads(world: &World, gone: Option<usize>, rng: &mut StdRng) {
    let Ok(client) = world.ground.postgres.connect().await else { return };
    let Ok(keys) = partitions(world, &client).await else { return };
    let alive: Vec<usize> = (0..BROKERS).filter(|broker| gone != Some(*broker)).collect();
    let mut keys: Vec<(i64, Key)> = keys.into_iter().collect();
    keys.sort_unstable_by_key(|(_, k)| *k);
    for (id, k) in &keys {
        let sql = "select floor_offset from eventflow.partition_head where partition_id = $1";
        let Ok(row) = client.query_one(sql, &[id]).await else { continue };
        let broker = alive[rng.random_range(0..alive.len())];
        let Ok(door) = world.door(0, broker, k.0) else { continue };
        let range = range(world, door, *k, row.get(0)).await;
        world.recorder.write(&Record::Range(range));
    }
    if let Some((id, k)) = keys.first() {
        damage(world, &client, *id, *k, alive[0]).await;
    }
}

/// Damages one payload, reads over it through a broker, and mends it: a damaged row is told, never passed over.
async fn damage(world: &World, client: &Client, id: i64, k: Key, broker: usize) {
    let sql = "select b.base_offset, h.floor_offset from eventflow.event_batch b \
               join eventflow.partition_head h using (partition_id) \
               where partition_id = $1 and b.base_offset > h.floor_offset order by b.base_offset offset 1 limit 1";
    let Ok(Some(row)) = client.query_opt(sql, &[&id]).await else { return };
    let (off, floor): (i64, i64) = (row.get(0), row.get(1));
    let flip = "update eventflow.event_batch set payloads[1] = set_byte(payloads[1], 9, 255 - get_byte(payloads[1], 9)) \
                where partition_id = $1 and base_offset = $2";
    if client.execute(flip, &[&id, &off]).await.is_err() {
        return;
    }
    if let Ok(door) = world.door(0, broker, k.0) {
        let mut range = range(world, door, k, floor).await;
        range.damaged = Some(off);
        world.recorder.write(&Record::Range(range));
    }
    // The very same bytes again.
    let _ = client.execute(flip, &[&id, &off]).await;
}

/// Writes down the log, its bounds, and the progress of groups.
pub async fn log(world: &World) -> Result<()> {
    let client = world.ground.postgres.connect().await?;
    let keys = partitions(world, &client).await?;
    for row in client
        .query(
            "select partition_id, floor_offset, head_offset from eventflow.bounds_v1($1)",
            &[&keys.keys().collect::<Vec<_>>()],
        )
        .await?
    {
        let id: i64 = row.get(0);
        let bounds = Bounds { k: keys[&id], floor: row.get(1), head: row.get(2) };
        world.recorder.write(&Record::Bounds(bounds));
    }
    for (id, k) in &keys {
        rows(world, &client, *id, *k).await?;
    }
    let sql = "select g.name, org.name, o.partition_id, o.next_offset, o.lease_epoch from eventflow.consumer_offset o \
               join eventflow.consumer_group g using (group_id) \
               join eventflow.organization org on org.organization_id = g.organization_id";
    for row in client.query(sql, &[]).await? {
        if let (Some(k), Some(g)) = (keys.get(&row.get(2)), group(world, row.get(0), row.get(1))) {
            let progress = Progress { g, k: *k, off: row.get(3), epoch: row.get::<_, i64>(4) as u64 };
            world.recorder.write(&Record::Progress(progress));
        }
    }
    outcomes::dump(world, &client, &keys).await
}

/// What a run calls a group, by its name and its organization's.
fn group(world: &World, name: &str, organization: &str) -> Option<u16> {
    let owner = ORGANIZATIONS.iter().position(|known| *known == organization)?;
    let is_it = |group: &Group| {
        usize::from(world.setup.streams[usize::from(group.stream)].organization) == owner && group.name == name
    };
    Some(world.setup.groups.iter().position(is_it)? as u16)
}

/// Rows of one partition, some at a time.
async fn rows(world: &World, client: &Client, id: i64, k: Key) -> Result<()> {
    let sql = "select base_offset, event_count, events_before, (extract(epoch from appended_at) * 1000000)::bigint, payloads \
               from eventflow.event_batch where partition_id = $1 and base_offset > $2 order by base_offset limit 500";
    let mut after = i64::MIN;
    loop {
        let page = client.query(sql, &[&id, &after]).await?;
        for row in &page {
            let (off, payloads): (i64, Vec<&[u8]>) = (row.get(0), row.get(4));
            after = off;
            let (runs, bad) = world.runs(off, payloads.into_iter());
            let (count, before, appended) = (row.get::<_, i32>(1) as u32, row.get(2), row.get(3));
            world.recorder.write(&Record::Row(Row { k, off, count, before, appended, runs, bad }));
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// Compares acknowledgements with the end of their commit in the write-ahead log, by `pg_walinspect`, an extension that comes
/// with Postgres. Where it is missing, that is written down as a fault that could not be looked at.
pub async fn flushes(world: &World, from: u64) {
    let samples = std::mem::take(&mut *world.flush.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    if samples.is_empty() {
        return;
    }
    if let Err(failure) = compare(world, from, samples).await {
        let t = world.now();
        let (kind, target) = ("flush of acknowledgements compared".to_owned(), String::new());
        let fault = crate::history::Fault { kind, target, t0: t, t1: t, back: None, skipped: failure.to_string() };
        world.recorder.write(&Record::Fault(fault));
    }
}

async fn compare(world: &World, from: u64, samples: Vec<FlushSample>) -> Result<()> {
    let client = world.ground.postgres.connect().await?;
    let keys = partitions(world, &client).await?;
    client.batch_execute("create extension if not exists pg_walinspect").await?;
    let sql = "select xid::text::bigint, (end_lsn - '0/0')::bigint from pg_get_wal_records_info( \
               '0/0'::pg_lsn + $1::bigint::numeric, pg_current_wal_flush_lsn()) \
               where resource_manager = 'Transaction' and record_type like 'COMMIT%'";
    let commits = client.query(sql, &[&(from as i64)]).await?;
    let commits: HashMap<i64, i64> = commits.iter().map(|row| (row.get(0), row.get(1))).collect();
    let ids: HashMap<Key, i64> = keys.into_iter().map(|(id, k)| (k, id)).collect();
    let sql = "select xmin::text::bigint from eventflow.event_batch where partition_id = $1 and base_offset <= $2 \
               order by base_offset desc limit 1";
    for FlushSample { k, off, t, flushed } in samples {
        let Some(id) = ids.get(&k) else { continue };
        let Some(row) = client.query_opt(sql, &[id, &off]).await? else { continue };
        if let Some(commit) = commits.get(&row.get(0)) {
            let commit = *commit as u64;
            world.recorder.write(&Record::Flushed(Flushed { k, off, t, flushed, commit }));
        }
    }
    Ok(())
}
