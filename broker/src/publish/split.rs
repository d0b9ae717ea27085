//! A request, checked against its stream and split by partition. Pure.

use crate::domain::event::Event;
use crate::domain::ids::PartitionId;
use crate::domain::limits::{EXPECTED_KEYS_MAX, REQUEST_EVENTS_MAX};
use crate::domain::stream::{Stream, keys_not_tracked};
use crate::domain::{Applied, Error, Reason};
use crate::publish::Request;
use crate::publish::terms::Expected;
use eventflow_proto::partition_of_key;
use std::collections::{BTreeMap, HashSet};

/// Events of a request for one partition, in their order.
#[derive(Debug)]
pub struct Part {
    pub index: u32,
    pub partition: PartitionId,
    pub events: Vec<Event>,
    /// Which of the request's events; None is all.
    pub picked: Option<Vec<u32>>,
    /// What must hold in this partition.
    pub expected: Expected,
}

/// A refused request, and the partitions in whose order it would have stood.
#[derive(Debug)]
pub struct Refused {
    pub error: Error,
    pub partitions: Vec<PartitionId>,
}

/// Splits a request; events without a key go to the partition `keyless`.
pub fn split(stream: &Stream, request: Request, keyless: u32) -> Result<Vec<Part>, Refused> {
    let count = stream.partition_count();
    let of_key = |key: &String| request.partition.unwrap_or_else(|| partition_of_key(key.as_bytes(), count));
    let route = |event: &Event| {
        let key = event.key.as_ref().or(event.idempotency_key.as_ref());
        key.map_or_else(|| request.partition.unwrap_or(keyless), of_key)
    };
    let indexes: Vec<u32> = request.events.iter().map(route).collect();
    let expected: Vec<u32> = request.expected.keys.iter().map(|expected| of_key(&expected.key)).collect();
    if let Err(error) = check(stream, &request).and_then(|()| check_expected(stream, &request, &expected, &indexes)) {
        let mut touched = if indexes.is_empty() { request.partition.into_iter().collect() } else { indexes };
        touched.sort_unstable();
        touched.dedup();
        let partitions = touched.iter().filter_map(|index| stream.partitions.get(*index as usize).copied()).collect();
        return Err(Refused { error: error.applied(Applied::No), partitions });
    }
    let first = indexes[0];
    if indexes.iter().all(|index| *index == first) {
        let partition = stream.partitions[first as usize];
        let Request { events, expected, .. } = request;
        return Ok(vec![Part { index: first, partition, events, picked: None, expected }]);
    }
    let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
    for (position, (event, index)) in request.events.into_iter().zip(indexes).enumerate() {
        let partition = stream.partitions[index as usize];
        let part = parts.entry(index).or_insert_with(|| Part {
            index,
            partition,
            events: Vec::new(),
            picked: Some(Vec::new()),
            expected: Expected::default(),
        });
        part.events.push(event);
        part.picked.get_or_insert_default().push(position as u32);
    }
    for (key, index) in request.expected.keys.into_iter().zip(expected) {
        parts.entry(index).and_modify(|part| part.expected.keys.push(key));
    }
    Ok(parts.into_values().collect())
}

fn check(stream: &Stream, request: &Request) -> Result<(), Error> {
    if request.events.is_empty() {
        return Err(Error::invalid("events", format!("must hold 1 to {REQUEST_EVENTS_MAX} events, it holds none")));
    }
    if request.events.len() > REQUEST_EVENTS_MAX {
        return Err(Error::new(
            Reason::TooManyEvents,
            format!("`events` must hold 1 to {REQUEST_EVENTS_MAX} events, it holds {}", request.events.len()),
        )
        .fact("request_events_max", REQUEST_EVENTS_MAX)
        .violation("events", format!("at most {REQUEST_EVENTS_MAX}")));
    }
    if let Some(index) = request.partition {
        stream.partition(index)?;
    }
    if let Some(expected) = request.expected.next_offset {
        if request.partition.is_none() {
            return Err(Error::invalid(
                "partition",
                "must be set with `expected_next_offset`, which is one of a partition",
            ));
        }
        if expected < 0 {
            return Err(Error::invalid("expected_next_offset", "must not be negative"));
        }
    }
    if let Some(producer) = &request.producer {
        if request.partition.is_none() {
            return Err(Error::invalid(
                "partition",
                "must be set with a producer, which numbers each partition on its own",
            ));
        }
        if request.routing_version <= 0 {
            return Err(Error::invalid("routing_version", "must be set with a producer; it stands in the stream"));
        }
        let fits =
            i64::try_from(request.events.len()).ok().and_then(|count| producer.first_sequence.checked_add(count));
        if producer.first_sequence < 0 || fits.is_none() {
            return Err(Error::invalid("producer.first_sequence", "must be 0 or more, and so must its last sequence"));
        }
    }
    check_sizes(stream, &request.events)
}

/// What is expected of keys: where each would be looked for, and where the events go.
fn check_expected(stream: &Stream, request: &Request, partitions: &[u32], of_events: &[u32]) -> Result<(), Error> {
    let expected = &request.expected.keys;
    if expected.is_empty() {
        return Ok(());
    }
    if !stream.track_keys {
        return Err(keys_not_tracked(&stream.name));
    }
    let count = expected.len();
    if count > EXPECTED_KEYS_MAX {
        return Err(Error::invalid("expected_keys", format!("must be at most {EXPECTED_KEYS_MAX}, there are {count}")));
    }
    let mut seen = HashSet::new();
    for (key, partition) in expected.iter().zip(partitions) {
        let field = |name| format!("expected_keys[{}].{name}", key.index);
        if !seen.insert(key.key.as_str()) {
            return Err(Error::invalid(field("key"), "must not come twice"));
        }
        if key.last_offset.is_some_and(|offset| offset < 0) {
            return Err(Error::invalid(
                field("last_offset"),
                "must not be negative; leave it out for a key without events",
            ));
        }
        if !of_events.contains(partition) {
            return Err(Error::invalid(field("key"), "must be of a partition to which an event of the request goes"));
        }
    }
    Ok(())
}

fn check_sizes(stream: &Stream, events: &[Event]) -> Result<(), Error> {
    let max = stream.max_event_bytes;
    match events.iter().enumerate().find(|(_, event)| event.size() > max) {
        None => Ok(()),
        Some((index, event)) => Err(Error::new(
            Reason::EventTooLarge,
            format!("`events[{index}]` has {} bytes, stream `{}` allows {max}", event.size(), stream.name),
        )
        .fact("event_bytes", event.size())
        .fact("event_bytes_max", max)
        .fact("event_index", index)
        .violation(format!("events[{index}]"), format!("at most {max} bytes with key, headers and all"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{OrganizationId, StreamId, StreamName};
    use crate::domain::stream::Retention;
    use crate::publish::plan::Producer;
    use crate::publish::terms::ExpectedKey;

    fn stream() -> Stream {
        Stream {
            id: StreamId(1),
            organization: OrganizationId(1),
            uid: uuid::Uuid::nil(),
            name: StreamName::parse("name", "orders").expect("valid"),
            description: String::new(),
            partitions: (10..18).map(PartitionId).collect(),
            retention: Retention { max_age_us: 0, max_bytes: 0 },
            max_event_bytes: 100,
            labels: BTreeMap::new(),
            routing_version: 3,
            schema_policy: crate::domain::schema::Policy::default(),
            schema_revision: 0,
            key_retention_us: 0,
            track_keys: false,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn request(keys: &[Option<&str>]) -> Request {
        let events = keys.iter().map(|key| Event { key: key.map(str::to_owned), ..Event::default() }).collect();
        Request {
            stream: StreamName::parse("name", "orders").expect("valid"),
            events,
            partition: None,
            producer: None,
            publisher: "key:one".into(),
            routing_version: 0,
            validate_only: false,
            after_refusal: false,
            expected: Expected::default(),
        }
    }

    #[test]
    fn an_idempotency_key_routes_an_event_that_has_no_key() {
        let mut keyed = request(&[None, Some("a")]);
        keyed.events.iter_mut().for_each(|event| event.idempotency_key = Some("us".into()));
        let routed: Vec<u32> = split(&stream(), keyed, 0).expect("splits").into_iter().map(|part| part.index).collect();
        assert_eq!(routed, [3, 6]);
    }

    #[test]
    fn keys_choose_partitions_and_events_without_one_stay_together() {
        let parts = split(&stream(), request(&[Some("us"), None, Some("a"), None, Some("us")]), 0).expect("splits");
        let routed: Vec<(u32, Vec<u32>)> =
            parts.into_iter().map(|part| (part.index, part.picked.expect("a part"))).collect();
        assert_eq!(routed, [(0, vec![1, 3]), (3, vec![2]), (6, vec![0, 4])]);
    }

    #[test]
    fn a_request_for_one_partition_is_not_taken_apart() {
        let parts = split(&stream(), request(&[Some("us"), Some("us")]), 0).expect("splits");
        assert_eq!((parts.len(), parts[0].index, parts[0].picked.is_none()), (1, 6, true));
    }

    #[test]
    fn what_is_expected_of_a_key_is_its_partitions() {
        let key = |index, key: &str| ExpectedKey { index, key: key.into(), last_offset: Some(3) };
        let tracked = Stream { track_keys: true, ..stream() };
        let asking = |keys: Vec<ExpectedKey>| {
            let mut request = request(&[Some("us"), Some("a")]);
            request.expected.keys = keys;
            request
        };
        let expected = |parts: Vec<Part>| {
            let of = |part: Part| part.expected.keys.into_iter().map(|key| key.index).collect::<Vec<usize>>();
            parts.into_iter().map(of).collect::<Vec<_>>()
        };
        let parts = split(&tracked, asking(vec![key(0, "us"), key(1, "a")]), 0).expect("splits");
        assert_eq!(expected(parts), [[1], [0]]);
        let named = Request { partition: Some(2), ..asking(vec![key(0, "us"), key(1, "elsewhere")]) };
        assert_eq!(expected(split(&tracked, named, 0).expect("splits")), [[0, 1]]);
        let many = (0..=EXPECTED_KEYS_MAX).map(|index| key(index, &index.to_string())).collect();
        let negative = ExpectedKey { last_offset: Some(-1), ..key(0, "us") };
        for (keys, text) in [
            (vec![key(0, "us"), key(1, "us")], "`expected_keys[1].key`"),
            (vec![key(0, "elsewhere")], "`expected_keys[0].key`"),
            (vec![negative], "`expected_keys[0].last_offset`"),
            (many, "at most 100"),
        ] {
            let refused = split(&tracked, asking(keys), 0).expect_err("refused");
            assert_eq!(refused.error.reason(), Reason::InvalidArgument);
            assert!(refused.error.message().contains(text), "{:?}", refused.error);
        }
        let refused = split(&stream(), asking(vec![key(0, "us")]), 0).expect_err("refused");
        assert_eq!(refused.error.reason(), Reason::KeysNotTracked);
    }

    #[test]
    fn bad_requests_name_the_field_and_the_limit() {
        let mut outside = request(&[None]);
        outside.partition = Some(8);
        let mut numbered = request(&[None]);
        numbered.producer = Some(Producer { id: uuid::Uuid::nil(), epoch: 0, first_sequence: 0 });
        let mut large = request(&[None]);
        large.events[0].payload = vec![0; 101].into();
        let mut nowhere = request(&[None]);
        nowhere.expected.next_offset = Some(0);
        let cases = [
            (nowhere, Reason::InvalidArgument, "`partition`"),
            (request(&[]), Reason::InvalidArgument, "events"),
            (outside, Reason::PartitionOutOfRange, "8 partitions"),
            (numbered, Reason::InvalidArgument, "`partition`"),
            (large, Reason::EventTooLarge, "allows 100"),
        ];
        for (request, reason, text) in cases {
            let refused = split(&stream(), request, 0).expect_err("refused");
            assert_eq!(refused.error.reason(), reason);
            assert_eq!(refused.error.was_applied(), Some(Applied::No));
            assert!(refused.error.message().contains(text), "{:?}", refused.error);
        }
    }
}
