//! Dead letters as they are stored.

use crate::domain::dead_letter::{DeadLetter, DeadLetterFilter, FailedAttempt, Handled, LastEdit, Place, Redrive};
use crate::domain::event::{Batch, Encoder, Event, Fields};
use crate::domain::ids::GroupId;
use crate::domain::limits::DEAD_LETTERS_MAX;
use crate::domain::{Error, Result};
use crate::store::outcomes::get;
use crate::store::retries::read_again;
use crate::store::{Tenant, error::from_postgres};
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// At most `limit` of a group's dead letters, the newest first, from behind a place; without payloads.
pub async fn list(
    tenant: &Tenant,
    group: GroupId,
    filter: &DeadLetterFilter,
    behind: Option<Place>,
    limit: u32,
) -> Result<Vec<DeadLetter>> {
    let (before, before_id) = (behind.map(|place| place.dead_at), behind.map(|place| place.id));
    let Narrowed { ids, error_class, reason, from, to } = Narrowed::from(filter);
    let rows = tenant
        .query(
            include_str!("sql/dead_letter/list.sql"),
            &[
                &tenant.organization().0,
                &group.0,
                &ids,
                &error_class,
                &reason,
                &from,
                &to,
                &before,
                &before_id,
                &limit.cast_signed(),
            ],
        )
        .await
        .map_err(from_postgres)?;
    rows.iter().map(dead_letter).collect()
}

/// One, with its payload.
pub async fn find(tenant: &Tenant, group: GroupId, id: Uuid) -> Result<Option<DeadLetter>> {
    let sql = include_str!("sql/dead_letter/find.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &group.0, &vec![id]]).await.map_err(from_postgres)?;
    row.as_ref().map(dead_letter).transpose()
}

/// One's event, held until the transaction ends: nobody edits, redrives or discards it meanwhile.
pub async fn hold(tenant: &Tenant, group: GroupId, id: Uuid) -> Result<Option<Event>> {
    let sql = include_str!("sql/dead_letter/hold.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &group.0, &id]).await.map_err(from_postgres)?;
    let event = |row: Row| {
        Ok(Event {
            id: get(&row, 0)?,
            kind: get::<Option<String>>(&row, 1)?.unwrap_or_default(),
            key: get(&row, 2)?,
            time_us: get(&row, 3)?,
            content_type: get::<Option<String>>(&row, 4)?.unwrap_or_default(),
            headers: get(&row, 5)?,
            payload: Bytes::copy_from_slice(get(&row, 6)?),
            // Is not kept with an event.
            idempotency_key: None,
        })
    };
    row.map(event).transpose()
}

/// Writes what a held one's event becomes.
pub async fn edit(tenant: &Tenant, group: GroupId, id: Uuid, editor: &str, event: &Event) -> Result<()> {
    let content_type = Some(event.content_type.as_str()).filter(|text| !text.is_empty());
    tenant
        .execute(
            include_str!("sql/dead_letter/edit.sql"),
            &[&tenant.organization().0, &group.0, &id, &editor, &&*event.payload, &event.headers, &content_type],
        )
        .await
        .map_err(from_postgres)?;
    Ok(())
}

/// Gives them back to their group, so many microseconds apart, for somebody.
pub async fn redrive(
    tenant: &Tenant,
    group: GroupId,
    filter: &DeadLetterFilter,
    spacing_us: i64,
    actor: &str,
) -> Result<Handled> {
    let Narrowed { ids, error_class, reason, from, to } = Narrowed::from(filter);
    let row = tenant
        .query_one(
            include_str!("sql/dead_letter/redrive.sql"),
            &[
                &tenant.organization().0,
                &group.0,
                &ids,
                &error_class,
                &reason,
                &from,
                &to,
                &spacing_us,
                &(DEAD_LETTERS_MAX as i32),
                &actor,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(Handled { redrive: get(&row, 0)?, ..handled(tenant, group, filter, get(&row, 1)?).await? })
}

/// The redrives of a group, the newest first; one only when it is named.
pub async fn redrives(tenant: &Tenant, group: GroupId, id: Option<Uuid>) -> Result<Vec<Redrive>> {
    let sql = include_str!("sql/dead_letter/redrives.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &group.0, &id]).await.map_err(from_postgres)?;
    let redrive = |row: &Row| {
        Ok(Redrive {
            id: get(row, 0)?,
            actor: get(row, 1)?,
            started_at: get(row, 2)?,
            events: get(row, 3)?,
            waiting: get(row, 4)?,
            retrying: get(row, 5)?,
            died: get(row, 6)?,
            cancelled: get(row, 7)?,
            cancelled_at: get(row, 8)?,
            last_due_at: get(row, 9)?,
        })
    };
    rows.iter().map(redrive).collect()
}

/// Makes dead letters again of what no member has been given; how far it had come then. None: there is no such redrive.
pub async fn cancel_redrive(tenant: &Tenant, group: GroupId, id: Uuid) -> Result<Option<Redrive>> {
    let sql = include_str!("sql/dead_letter/cancel_redrive.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &group.0, &id]).await.map_err(from_postgres)?;
    if get::<Option<i64>>(&row, 0)?.is_none() {
        return Ok(None);
    }
    Ok(redrives(tenant, group, Some(id)).await?.pop())
}

/// Removes them for good.
pub async fn discard(tenant: &Tenant, group: GroupId, filter: &DeadLetterFilter) -> Result<Handled> {
    let discarded = narrowed(tenant, group, filter, include_str!("sql/dead_letter/discard.sql")).await?;
    handled(tenant, group, filter, discarded).await
}

/// How many there are, counted a little beyond what one call handles.
pub async fn count(tenant: &Tenant, group: GroupId, filter: &DeadLetterFilter) -> Result<Handled> {
    let counted = narrowed(tenant, group, filter, include_str!("sql/dead_letter/count.sql")).await?;
    let most = DEAD_LETTERS_MAX as i64;
    Ok(Handled { dead_letters: counted.min(most), more: counted > most, redrive: None })
}

async fn handled(tenant: &Tenant, group: GroupId, filter: &DeadLetterFilter, dead_letters: i64) -> Result<Handled> {
    let left = narrowed(tenant, group, filter, include_str!("sql/dead_letter/count.sql")).await?;
    Ok(Handled { dead_letters, more: left > 0, redrive: None })
}

async fn narrowed(tenant: &Tenant, group: GroupId, filter: &DeadLetterFilter, sql: &str) -> Result<i64> {
    let Narrowed { ids, error_class, reason, from, to } = Narrowed::from(filter);
    let limit = DEAD_LETTERS_MAX as i32;
    let row = tenant
        .query_one(sql, &[&tenant.organization().0, &group.0, &ids, &error_class, &reason, &from, &to, &limit])
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

/// A filter as the schema takes it.
struct Narrowed<'a> {
    ids: Option<&'a [Uuid]>,
    error_class: Option<&'a str>,
    reason: Option<&'a str>,
    from: Option<i64>,
    to: Option<i64>,
}

impl<'a> From<&'a DeadLetterFilter> for Narrowed<'a> {
    fn from(filter: &'a DeadLetterFilter) -> Self {
        Self {
            ids: (!filter.ids.is_empty()).then_some(filter.ids.as_slice()),
            error_class: filter.error_class.as_deref(),
            reason: filter.reason_contains.as_deref(),
            from: filter.from,
            to: filter.to,
        }
    }
}

fn dead_letter(row: &Row) -> Result<DeadLetter> {
    let again = read_again(row)?;
    Ok(DeadLetter {
        id: get(row, 13)?,
        partition: get::<i32>(row, 14)?.cast_unsigned(),
        attempts: again.failed,
        reason: again.reason,
        error_class: again.error_class,
        dead_at: get(row, 15)?,
        history: history(get(row, 16)?)?,
        edit: last_edit(row, &again.event)?,
        event: again.event,
    })
}

fn last_edit(row: &Row, edited: &Batch) -> Result<Option<LastEdit>> {
    let Some(editor) = get(row, 17)? else { return Ok(None) };
    let text = |index| get::<Option<&str>>(row, index);
    let original = match get::<Option<&[u8]>>(row, 22)? {
        None => None,
        Some(payload) => {
            let mut encoder = Encoder::with_capacity(1, payload.len());
            encoder.push(Fields {
                id: text(6)?,
                kind: text(7)?.unwrap_or_default(),
                key: text(8)?,
                time_us: get(row, 9)?,
                content_type: text(20)?.unwrap_or_default(),
                headers: text(21)?,
                payload,
            });
            Some(Arc::new(Batch { encoded: encoder.finish(), ..edited.clone() }))
        }
    };
    Ok(Some(LastEdit { editor, at: get(row, 18)?, changed: get(row, 19)?, original }))
}

fn history(text: &str) -> Result<Vec<FailedAttempt>> {
    let attempts: Vec<Value> = serde_json::from_str(text).map_err(Error::internal)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let attempt = |value: &Value| FailedAttempt {
        attempt: u32::try_from(number(&value["attempt"])).unwrap_or_default(),
        at: number(&value["at_us"]),
        member: text(&value["member"]),
        reason: text(&value["reason"]),
        error_class: text(&value["error_class"]),
        duration_ms: number(&value["duration_ms"]),
        trace_id: text(&value["trace_id"]),
    };
    Ok(attempts.iter().map(attempt).collect())
}
