//! Numbers of schemas: compared exactly, or not at all.

use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

/// A whole number beyond which a double no longer tells neighbours apart.
const EXACT: i128 = 1 << 53;

/// Compares two numbers. None: a double is too coarse to tell.
pub(super) fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        (Some(large), None) | (None, Some(large)) if large.abs() > EXACT => None,
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Whether every multiple of `other` is one of `one`. None: not whole numbers, so not decided.
pub(super) fn divides(one: &Number, other: &Number) -> Option<bool> {
    let (one, other) = (whole(one)?, whole(other)?);
    Some(one > 0 && other % one == 0)
}

/// A bound of numbers, and whether it is excluded itself.
pub(super) struct Bound<'a> {
    pub(super) keyword: &'static str,
    pub(super) value: &'a Number,
    excluded: bool,
}

impl Bound<'_> {
    /// Whether this bound of the writer keeps all values within the reader's; `tighter` is how a tighter bound compares.
    pub(super) fn keeps(&self, reader: &Bound<'_>, tighter: Ordering) -> Option<bool> {
        let order = compare(self.value, reader.value)?;
        Some(order == tighter || (order == Ordering::Equal && (self.excluded || !reader.excluded)))
    }
}

/// The bounds that a schema sets on one side.
pub(super) fn bounds<'a>(schema: &'a Map<String, Value>, [included, excluded]: [&'static str; 2]) -> Vec<Bound<'a>> {
    let bound = |keyword: &'static str, is_excluded| {
        let value = match schema.get(keyword)? {
            Value::Number(value) => value,
            _ => return None,
        };
        Some(Bound { keyword, value, excluded: is_excluded })
    };
    // Draft 4 says in a boolean whether the bound itself is excluded.
    let by_flag = schema.get(excluded) == Some(&Value::Bool(true));
    [bound(included, by_flag), bound(excluded, true)].into_iter().flatten().collect()
}
