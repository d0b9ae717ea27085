//! The append: one server-side call a flush, and the binary form of its arguments.
//!
//! The rows go out as one array of composites, each with an array a field, written straight from the events: no intermediate
//! copy, no text form. See `migrations/0003_append.sql` for the contract.

use crate::domain::event::Event;
use crate::domain::ids::{OrganizationId, PartitionId};
use crate::domain::publisher::Publishers;
use crate::store::Connection;
use crate::store::columns::{RecordWriter, composite_array};
use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;
use std::sync::Arc;
use tokio_postgres::{Row as SqlRow, Statement};
use uuid::Uuid;

/// What one producer appends to one partition in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub organization: OrganizationId,
    pub partition: PartitionId,
    pub producer: Uuid,
    pub epoch: i32,
    pub first_sequence: i64,
    pub event_count: i32,
    /// 0 is not checked.
    pub routing_version: i64,
}

/// A producer's part of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPiece {
    pub producer: Uuid,
    pub epoch: i32,
    pub first_sequence: i64,
    pub event_count: i32,
}

impl RunPiece {
    /// The sequence behind it.
    pub fn end(&self) -> i64 {
        self.first_sequence + i64::from(self.event_count)
    }
}

/// An idempotency key of a call.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// 1-based position in the runs of the call.
    pub run: i32,
    /// Its event in the run, from 0.
    pub place: i32,
    pub key: &'a str,
    pub fingerprint: &'a [u8],
    /// None: believed to be new. At least 0: believed to stand at that offset. Below: the key of the event at place `-1 - known`.
    pub known: Option<i64>,
}

/// What a run of a call expects of an event key.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// 1-based position in the runs of the call.
    pub run: i32,
    pub key: &'a str,
    /// The offset of its last event; None: it has none.
    pub last_offset: Option<i64>,
}

/// One row of the log to be.
#[derive(Debug)]
pub struct Row<'a> {
    pub partition: PartitionId,
    pub size_bytes: usize,
    pub crc: u32,
    pub events: Vec<&'a Event>,
    pub publishers: &'a Publishers,
    pub pieces: Vec<RunPiece>,
}

/// What became of a partition's part of a call, or of one run of it.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub partition: PartitionId,
    /// 1-based position in the runs of the call; 0 speaks for the whole partition.
    pub run: i32,
    pub kind: VerdictKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerdictKind {
    /// Inserted, from this offset on, at this time (microseconds since 1970).
    Appended {
        base_offset: i64,
        appended_at_us: i64,
    },
    /// Would have been inserted, but another run of the partition was not new.
    New,
    /// Appended before: where the events stand, in order, and when.
    Duplicate {
        ranges: Vec<(i64, i32)>,
        appended_at_us: i64,
    },
    /// Overlaps what was appended before and goes beyond it.
    Partial {
        expected: i64,
    },
    OutOfSequence {
        expected: i64,
    },
    ProducerUnknown,
    ProducerFenced,
    SequenceTooOld,
    StaleRouting {
        current: i64,
    },
    /// A key of the run is not what was believed. For each that was not the key of another event of the call, in their order:
    /// where the database has it, and whether that event says the same.
    Keys {
        found: Vec<(Option<i64>, bool)>,
        appended_at_us: i64,
        /// Where the partition ends, when that was expected elsewhere.
        ends_at: Option<i64>,
    },
    /// The partition does not end where it was expected to, but here.
    Expectation {
        ends_at: i64,
    },
    /// Beside another verdict on the run: where the last event stands of each key of which the run expects something, in their
    /// order. Something that was expected in the partition does not hold.
    Last {
        found: Vec<Option<i64>>,
    },
    /// Somebody else holds the partition's lock.
    Busy,
    /// Unknown, deleted, or another organization's.
    NotFound,
    /// The whole call: the database is in another log epoch, or another life.
    LogEpoch {
        current: i64,
    },
}

const SQL: &str = include_str!("sql/log/append.sql");
const KEYED: &str = include_str!("sql/log/append_keyed.sql");

/// Prepares the call on a connection.
pub async fn prepare(connection: &Connection) -> Result<Statement, tokio_postgres::Error> {
    connection.client().prepare(SQL).await
}

/// Makes the call. With `wait` it waits for locks; otherwise partitions whose lock is taken come back as busy.
pub async fn append(
    connection: &Connection,
    statement: &Statement,
    log_epoch: i64,
    wait: bool,
    runs: &[Run],
    rows: &[Row<'_>],
) -> Result<Vec<Verdict>, tokio_postgres::Error> {
    let answer = connection.client().query(statement, &[&log_epoch, &wait, &Runs(runs), &Rows(rows)]).await?;
    answer.iter().map(verdict).collect()
}

/// Prepares the call with terms on a connection.
pub async fn prepare_keyed(connection: &Connection) -> Result<Statement, tokio_postgres::Error> {
    connection.client().prepare(KEYED).await
}

/// The terms of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallTerms<'a> {
    pub keys: &'a [Key<'a>],
    /// One a run: where its partition must end.
    pub expected: &'a [Option<i64>],
    /// What is expected of event keys, in the order of the runs.
    pub last: &'a [Last<'a>],
}

/// As [`append`], with idempotency keys and conditions.
pub async fn append_keyed(
    connection: &Connection,
    statement: &Statement,
    log_epoch: i64,
    wait: bool,
    (runs, rows): (&[Run], &[Row<'_>]),
    terms: CallTerms<'_>,
) -> Result<Vec<Verdict>, tokio_postgres::Error> {
    let arguments: [&(dyn ToSql + Sync); 7] =
        [&log_epoch, &wait, &Runs(runs), &Rows(rows), &Keys(terms.keys), &terms.expected, &Lasts(terms.last)];
    let answer = connection.client().query(statement, &arguments).await?;
    answer.iter().map(verdict).collect()
}

fn verdict(row: &SqlRow) -> Result<Verdict, tokio_postgres::Error> {
    let partition: Option<i64> = row.try_get(0)?;
    let expected: i64 = row.try_get::<_, Option<i64>>(5)?.unwrap_or(0);
    let time: i64 = row.try_get::<_, Option<i64>>(4)?.unwrap_or(0);
    let kind = match row.try_get::<_, &str>(2)? {
        "appended" => VerdictKind::Appended { base_offset: row.try_get(3)?, appended_at_us: time },
        "new" => VerdictKind::New,
        "duplicate" => {
            let (bases, counts): (Vec<i64>, Vec<i32>) = (row.try_get(6)?, row.try_get(7)?);
            VerdictKind::Duplicate { ranges: bases.into_iter().zip(counts).collect(), appended_at_us: time }
        }
        "partial" => VerdictKind::Partial { expected },
        "out_of_sequence" => VerdictKind::OutOfSequence { expected },
        "producer_unknown" => VerdictKind::ProducerUnknown,
        "producer_fenced" => VerdictKind::ProducerFenced,
        "sequence_too_old" => VerdictKind::SequenceTooOld,
        "stale_routing" => VerdictKind::StaleRouting { current: expected },
        "keys" => {
            let (bases, same): (Vec<Option<i64>>, Vec<i32>) = (row.try_get(6)?, row.try_get(7)?);
            let found = bases.into_iter().zip(same).map(|(base, same)| (base, same == 1)).collect();
            VerdictKind::Keys { found, appended_at_us: time, ends_at: row.try_get(5)? }
        }
        "expectation" => VerdictKind::Expectation { ends_at: expected },
        "last" => VerdictKind::Last { found: row.try_get(6)? },
        "busy" => VerdictKind::Busy,
        "log_epoch" => VerdictKind::LogEpoch { current: expected },
        _ => VerdictKind::NotFound,
    };
    Ok(Verdict { partition: PartitionId(partition.unwrap_or(0)), run: row.try_get(1)?, kind })
}

#[derive(Debug)]
struct Runs<'a>(&'a [Run]);

impl ToSql for Runs<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |run, record| {
            record.int8(run.organization.0);
            record.int8(run.partition.0);
            record.uuid(run.producer);
            record.int4(run.epoch);
            record.int8(run.first_sequence);
            record.int4(run.event_count);
            record.int8(run.routing_version);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Keys<'a>(&'a [Key<'a>]);

impl ToSql for Keys<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |key, record| {
            record.int4(key.run);
            record.int4(key.place);
            record.text(key.key);
            record.bytes(key.fingerprint);
            record.opt_int8(key.known);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Lasts<'a>(&'a [Last<'a>]);

impl ToSql for Lasts<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |last, record| {
            record.int4(last.run);
            record.text(last.key);
            record.opt_int8(last.last_offset);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

#[derive(Debug)]
struct Rows<'a>(&'a [Row<'a>]);

impl ToSql for Rows<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |row, record| {
            record.int8(row.partition.0);
            record.int4(row.events.len() as i32);
            record.int4(row.size_bytes as i32);
            record.int8(i64::from(row.crc));
            event_arrays(row, record);
            publisher_arrays(row.publishers.runs(), record);
            let pieces = &row.pieces;
            record.array(pieces.len(), |array| pieces.iter().for_each(|piece| array.bytes(piece.producer.as_bytes())));
            record.array(pieces.len(), |array| pieces.iter().for_each(|piece| array.int4(piece.epoch)));
            record.array(pieces.len(), |array| pieces.iter().for_each(|piece| array.int8(piece.first_sequence)));
            record.array(pieces.len(), |array| pieces.iter().for_each(|piece| array.int4(piece.event_count)));
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

/// One array a field; null when every event has the default.
fn event_arrays(row: &Row<'_>, record: &mut RecordWriter<'_>) {
    text_array(row, record, |event| event.id.as_deref());
    text_array(row, record, |event| (!event.kind.is_empty()).then_some(event.kind.as_str()));
    text_array(row, record, |event| event.key.as_deref());
    if row.events.iter().all(|event| event.time_us.is_none()) {
        record.null();
    } else {
        record.array(row.events.len(), |array| {
            for event in &row.events {
                match event.time_us {
                    Some(time) => array.int8(time),
                    None => array.null(),
                }
            }
        });
    }
    text_array(row, record, |event| (!event.content_type.is_empty()).then_some(event.content_type.as_str()));
    text_array(row, record, |event| event.headers.as_deref());
    record.array(row.events.len(), |array| row.events.iter().for_each(|event| array.bytes(&event.payload)));
}

/// Names and counts; the counts are null when all events have one publisher.
fn publisher_arrays(runs: &[(Arc<str>, u32)], record: &mut RecordWriter<'_>) {
    if runs.is_empty() {
        record.null();
    } else {
        record.array(runs.len(), |array| runs.iter().for_each(|(publisher, _)| array.text(Some(publisher))));
    }
    if runs.len() < 2 {
        record.null();
    } else {
        record.array(runs.len(), |array| runs.iter().for_each(|(_, count)| array.int4(*count as i32)));
    }
}

fn text_array(row: &Row<'_>, record: &mut RecordWriter<'_>, text: fn(&Event) -> Option<&str>) {
    if row.events.iter().all(|event| text(event).is_none()) {
        record.null();
    } else {
        record.array(row.events.len(), |array| row.events.iter().for_each(|event| array.text(text(event))));
    }
}
