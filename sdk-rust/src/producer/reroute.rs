//! Sending events where their keys go now, after the stream got more partitions.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use eventflow_proto::{partition_of_key, v1};
use prost::Message;

use super::{
    intake::Sizes,
    parcel::{Parcel, Span},
};

/// Routes parcels anew, given in the order of their partitions. Events that shared a partition and go the same way stay in
/// order; events without a key, and those whose sender named the partition, stay where they are.
pub(super) fn reroute(parcels: Vec<(u32, Parcel)>, partitions: u32, sizes: Sizes) -> Vec<VecDeque<Parcel>> {
    let mut targets: Vec<Target> = Vec::new();
    targets.resize_with(partitions as usize, Target::default);
    for (partition, parcel) in parcels {
        let mut events = 0;
        for span in &parcel.spans {
            for index in span.first..span.first + span.count {
                let field = parcel.event(events);
                events += 1;
                let partition = match key_of(&field) {
                    _ if parcel.named => partition,
                    Some(key) => partition_of_key(key.as_bytes(), partitions),
                    None => partition % partitions.max(1),
                };
                targets[partition as usize].add(&parcel, &field, span, index, sizes);
            }
        }
    }
    targets.into_iter().map(Target::finish).collect()
}

/// The parcels of one partition, the last of them under construction.
#[derive(Default)]
struct Target {
    full: VecDeque<Parcel>,
    body: BytesMut,
    last: Option<Parcel>,
}

impl Target {
    fn add(&mut self, from: &Parcel, field: &Bytes, span: &Span, index: u32, sizes: Sizes) {
        let fits = |last: &Parcel| {
            (last.gave_up, last.named) == (from.gave_up, from.named)
                && last.len() < sizes.batch_events
                && self.body.len() + field.len() <= sizes.batch_bytes
        };
        if !self.last.as_ref().is_some_and(fits) {
            self.seal();
        }
        let last = self.last.get_or_insert_with(|| Parcel {
            body: Bytes::new(),
            ends: Vec::new(),
            spans: Vec::new(),
            deadline: from.deadline,
            gave_up: from.gave_up,
            named: from.named,
        });
        self.body.extend_from_slice(field);
        last.ends.push(self.body.len() as u32);
        last.deadline = last.deadline.min(from.deadline);
        match last.spans.last_mut() {
            Some(end) if Arc::ptr_eq(&end.outcome, &span.outcome) && end.first + end.count == index => end.count += 1,
            _ => last.spans.push(Span { outcome: Arc::clone(&span.outcome), first: index, count: 1 }),
        }
    }

    fn seal(&mut self) {
        if let Some(mut parcel) = self.last.take() {
            parcel.body = self.body.split().freeze();
            self.full.push_back(parcel);
        }
    }

    fn finish(mut self) -> VecDeque<Parcel> {
        self.seal();
        self.full
    }
}

/// What chooses the partition of an encoded `events` field: its key, or else its idempotency key.
fn key_of(field: &Bytes) -> Option<String> {
    let mut field = field.clone();
    prost::encoding::decode_key(&mut field).ok()?;
    let event = v1::Event::decode_length_delimited(field).ok()?;
    event.key.or(event.idempotency_key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{super::receipt::Outcome, *};

    fn parcel(serial: u64, keys: &[&str]) -> Parcel {
        let mut body = Vec::new();
        let mut ends = Vec::new();
        for key in keys {
            let event = v1::Event { key: Some((*key).to_owned()), ..Default::default() };
            prost::encoding::message::encode(2, &event, &mut body);
            ends.push(body.len() as u32);
        }
        let spans = vec![Span { outcome: Outcome::new(serial), first: 0, count: keys.len() as u32 }];
        Parcel { body: body.into(), ends, spans, deadline: Instant::now(), gave_up: false, named: false }
    }

    #[test]
    fn events_whose_partition_was_named_stay_there() {
        let sizes = Sizes { batch_events: 9, batch_bytes: 1_000, delivery_timeout: Duration::from_secs(1) };
        let named = Parcel { named: true, ..parcel(0, &["us", "a"]) };
        let routed = reroute(vec![(3, parcel(1, &["a"])), (3, named)], 8, sizes);
        let counts: Vec<(usize, bool)> = routed[3].iter().map(|parcel| (parcel.len(), parcel.named)).collect();
        assert_eq!(counts, [(1, false), (2, true)]);
    }

    #[test]
    fn every_event_goes_where_its_key_goes_now_and_stays_in_order() {
        let sizes = Sizes { batch_events: 2, batch_bytes: 1_000, delivery_timeout: Duration::from_secs(1) };
        let parcels = vec![(0, parcel(0, &["a", "us", "a"])), (0, parcel(1, &["order-42", "a"]))];
        let routed = reroute(parcels, 8, sizes);
        let keys = |partition: usize| -> Vec<Vec<String>> {
            let parcel_keys =
                |parcel: &Parcel| (0..parcel.len()).map(|i| key_of(&parcel.event(i)).expect("key")).collect();
            routed[partition].iter().map(parcel_keys).collect()
        };
        assert_eq!(keys(3), [vec!["a", "a"], vec!["a"]]);
        assert_eq!(keys(6), [vec!["us", "order-42"]]);
        let spans: Vec<(u64, u32, u32)> =
            routed[6][0].spans.iter().map(|span| (span.outcome.serial, span.first, span.count)).collect();
        assert_eq!(spans, [(0, 1, 1), (1, 0, 1)]);
        assert_eq!(routed.iter().flatten().map(Parcel::len).sum::<usize>(), 5);
    }
}
