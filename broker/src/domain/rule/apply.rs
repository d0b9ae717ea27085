//! What the rules of a stream make of one event.

use crate::domain::event::{Encoded, Encoder, Event, headers_text, parse_headers};
use crate::domain::event_view::EventView;
use crate::domain::ids::{PartitionId, StreamName};
use crate::domain::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, RULE_HOPS_MAX};
use crate::domain::rule::redact::redact;
use crate::domain::rule::{Action, OWN_KEYS, Rule};
use std::collections::BTreeMap;

/// Where a copy comes from: `orders/3@1234`.
pub const SOURCE: &str = "eventflow-source";
/// The rule that made it.
pub const RULE: &str = "eventflow-rule";
/// How many rules have copied it so far, from stream to stream.
pub const HOPS: &str = "eventflow-hops";

/// An event where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub stream: &'a StreamName,
    pub partition: u32,
    pub partition_id: PartitionId,
    pub offset: i64,
    /// Microseconds since 1970, database time.
    pub appended_at_us: i64,
    pub encoded: &'a Encoded,
    pub index: usize,
}

/// What becomes of an event.
#[derive(Debug, Default, PartialEq)]
pub struct Processed {
    /// The rules that were asked: so many from the first on.
    pub asked: usize,
    /// Those that match, by their index.
    pub matched: Vec<usize>,
    /// In the order of their rules.
    pub copies: Vec<Copy>,
    /// The event as the rules have changed it. None: they have not.
    pub changed: Option<Event>,
    pub dropped: bool,
    /// A rule could not be carried out, so that none behind it was asked.
    pub failure: Option<Failure>,
}

/// A copy of an event for another stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Index of its rule.
    pub rule: usize,
    pub stream: StreamName,
    pub event: Event,
}

/// Why a rule could not be carried out, which it will never be unless the rule or the event changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub rule: usize,
    pub class: &'static str,
    pub reason: String,
}

/// Asks the rules, in their order. Disabled ones are as if they were not there.
pub fn apply(rules: &[Rule], source: &Source<'_>) -> Processed {
    let mut processed = Processed::default();
    let Some(view) = source.encoded.view(source.index) else {
        processed.failure = Some(failure(0, "UNREADABLE", "the event cannot be read".to_owned()));
        return processed;
    };
    // Encoded again where rules behind a change look at it.
    let mut again: Option<Encoded> = None;
    for (index, rule) in rules.iter().enumerate() {
        processed.asked = index + 1;
        if rule.disabled {
            continue;
        }
        let view = again.as_ref().and_then(|encoded| encoded.view(0)).unwrap_or(view);
        if rule.filter.as_ref().is_some_and(|filter| !filter.matches(&view)) {
            continue;
        }
        processed.matched.push(index);
        match carry_out(rule, index, source, &view, &mut processed) {
            Ok(Change::None) => {}
            Ok(Change::Event(event)) => {
                let mut encoder = Encoder::with_capacity(1, event.size());
                encoder.push(event.fields());
                again = Some(encoder.finish());
                processed.changed = Some(event);
            }
            Ok(Change::Dropped) => {
                processed.dropped = true;
                return processed;
            }
            Err(failure) => {
                processed.failure = Some(failure);
                return processed;
            }
        }
    }
    processed
}

enum Change {
    None,
    Event(Event),
    Dropped,
}

fn carry_out(
    rule: &Rule,
    index: usize,
    source: &Source<'_>,
    view: &EventView<'_>,
    processed: &mut Processed,
) -> Result<Change, Failure> {
    let unreadable = || failure(index, "UNREADABLE", "the event cannot be read".to_owned());
    let current = || processed.changed.clone().or_else(|| source.encoded.event(source.index)).ok_or_else(unreadable);
    match &rule.action {
        Action::Pass => Ok(Change::None),
        Action::Drop => Ok(Change::Dropped),
        Action::Route { stream } => {
            let event = copy(rule, index, source, view, current()?)?;
            processed.copies.push(Copy { rule: index, stream: stream.clone(), event });
            Ok(Change::None)
        }
        Action::Headers { set, remove } => {
            let mut event = current()?;
            let mut headers = event.headers.as_deref().map(parse_headers).unwrap_or_default();
            remove.iter().for_each(|name| drop(headers.remove(name)));
            headers.extend(set.clone());
            event.headers = bounded(index, &headers)?;
            Ok(Change::Event(event))
        }
        Action::Redact { fields } => {
            let mut event = current()?;
            let redacted = redact(&event.payload, fields).map_err(|why| failure(index, "NOT_JSON", why))?;
            Ok(match redacted {
                None => Change::None,
                Some(payload) => {
                    event.payload = payload;
                    Change::Event(event)
                }
            })
        }
    }
}

/// The event as it goes to another stream: what it was, with where it comes from. Its key names the event and the rule, so that
/// the same copy is appended once, whoever makes it and how often.
fn copy(rule: &Rule, index: usize, source: &Source<'_>, view: &EventView<'_>, event: Event) -> Result<Event, Failure> {
    let hops = view.header(HOPS).map_or(0, |hops| hops.parse().unwrap_or(RULE_HOPS_MAX)) + 1;
    if hops > RULE_HOPS_MAX {
        let why = format!("the event has come through {RULE_HOPS_MAX} rules already; they may lead in a circle");
        return Err(failure(index, "TOO_MANY_HOPS", why));
    }
    let mut headers = event.headers.as_deref().map(parse_headers).unwrap_or_default();
    let Source { stream, partition, offset, .. } = source;
    headers.insert(SOURCE.to_owned(), format!("{stream}/{partition}@{offset}"));
    headers.insert(RULE.to_owned(), rule.name.to_string());
    headers.insert(HOPS.to_owned(), hops.to_string());
    let headers = bounded(index, &headers)?;
    let key = format!("{OWN_KEYS}rule/{}/{}/{offset}", rule.id.0, source.partition_id.0);
    Ok(Event {
        // One that is derived from the position would change with it.
        id: event.id.or_else(|| Some(format!("{partition}-{offset}"))),
        time_us: event.time_us.or(Some(source.appended_at_us)),
        headers,
        idempotency_key: Some(key),
        ..event
    })
}

fn bounded(rule: usize, headers: &BTreeMap<String, String>) -> Result<Option<String>, Failure> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        let why = format!("the event would have more than {HEADERS_MAX} headers, or {HEADERS_BYTES_MAX} bytes of them");
        return Err(failure(rule, "TOO_MANY_HEADERS", why));
    }
    Ok(headers_text(headers))
}

fn failure(rule: usize, class: &'static str, reason: String) -> Failure {
    Failure { rule, class, reason }
}
