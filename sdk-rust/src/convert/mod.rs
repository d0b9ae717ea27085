//! Where wire types end: every conversion between `eventflow.v1` and the types of this crate.

mod alert;
mod api_key;
mod error;
mod event;
mod group;
mod rule;
mod schema;
mod stream;
mod time;

pub(crate) use event::{event_from_wire, event_to_wire, record_from_wire};
pub(crate) use time::{duration_from_wire, duration_to_wire, time_from_wire, time_to_wire};

/// A message that the broker must always set, or a protocol error that names it.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> crate::Result<T> {
    value.ok_or_else(|| crate::Error::protocol(format!("the broker's answer lacks `{field}`")))
}
