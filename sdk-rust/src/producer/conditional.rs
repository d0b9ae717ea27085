//! Publishes that happen only if a partition still ends where the caller believes, or the last event of a key still stands there.

use bytes::Bytes;
use eventflow_proto::{
    partition_of_key,
    v1::{self, partition_result::Outcome},
};
use uuid::Uuid;

use super::{
    builder::routing,
    intake::Routing,
    validate::{invalid, validate},
};
use crate::{
    client::Client,
    connection::Transport,
    convert::{event_to_wire, required, time_from_wire},
    error::{Applied, Error, ErrorKind, Result},
    event::Event,
    position::Appended,
};

/// Publishes the events in one request if the partition ends at this offset.
pub(crate) async fn publish_expecting(
    client: &Client,
    stream: &str,
    partition: u32,
    expected_next_offset: i64,
    events: Vec<Event>,
) -> Result<Vec<Appended>> {
    let routing = routing(client, stream).await?;
    let expected_next_offset = Some(expected_next_offset);
    let condition = v1::PublishRequest { expected_next_offset, ..v1::PublishRequest::default() };
    publish_if(client, stream, &routing, partition, events, condition).await
}

/// Publishes the events, all of the key, in one request if the key's last event stands at this offset.
pub(crate) async fn publish_expecting_last(
    client: &Client,
    stream: &str,
    key: &str,
    last_offset: Option<i64>,
    events: Vec<Event>,
) -> Result<Vec<Appended>> {
    if let Some(other) = events.iter().filter_map(|event| event.key.as_deref()).find(|other| *other != key) {
        return Err(invalid(format!("an event has the key `{other}`, and what is expected is expected of `{key}`")));
    }
    let events = events.into_iter().map(|event| event.with_key(key)).collect();
    let routing = routing(client, stream).await?;
    if !routing.track_keys {
        // Also said here: a broker from before it knew of this would append whatever is expected.
        let message = format!("stream `{stream}` does not keep the last offset of its keys; make one that does");
        return Err(Error::new(ErrorKind::FailedPrecondition, "KEYS_NOT_TRACKED", message).with_applied(Applied::No));
    }
    let partition = partition_of_key(key.as_bytes(), routing.partitions);
    let expected_keys = vec![v1::KeyExpectation { key: key.to_owned(), last_offset }];
    let condition = v1::PublishRequest { expected_keys, ..v1::PublishRequest::default() };
    publish_if(client, stream, &routing, partition, events, condition).await
}

/// The request has a producer of its own, so that a repeat after a lost answer finds out what became of the first attempt.
async fn publish_if(
    client: &Client,
    stream: &str,
    routing: &Routing,
    partition: u32,
    events: Vec<Event>,
    condition: v1::PublishRequest,
) -> Result<Vec<Appended>> {
    events.iter().try_for_each(|event| validate(event, routing.max_event_bytes))?;
    let id = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
    let request = v1::PublishRequest {
        stream: stream.to_owned(),
        events: events.into_iter().map(event_to_wire).collect(),
        partition: Some(partition),
        producer: Some(v1::Producer { id, epoch: 0, first_sequence: 0 }),
        routing_version: routing.version,
        ..condition
    };
    let call = |broker: Transport| {
        let request = request.clone();
        async move { broker.publish(request).await }
    };
    let result = required(client.unary(call).await?.results.pop(), "results")?;
    match required(result.outcome, "outcome")? {
        Outcome::Appended(appended) => Ok(positions(partition, appended)),
        Outcome::Error(status) => Err(status.into()),
        Outcome::Unknown(status) => Err(Error::from(status).with_applied(Applied::Unknown)),
        Outcome::Validated(_) => Err(Error::protocol("the broker only validated the events")),
    }
}

fn positions(partition: u32, appended: v1::Appended) -> Vec<Appended> {
    let append_time = time_from_wire(&appended.append_time.unwrap_or_default());
    let first = (appended.base_offset, appended.event_count);
    let runs = [first].into_iter().chain(appended.more.iter().map(|run| (run.base_offset, run.event_count)));
    let offsets = runs.flat_map(|(base, count)| base..base + i64::from(count));
    let known = |place: u32| appended.duplicate || appended.duplicate_places.binary_search(&place).is_ok();
    let (log_epoch, places) = (appended.log_epoch, 0..);
    let stands = places.zip(offsets);
    stands
        .map(|(place, offset)| Appended { partition, offset, log_epoch, append_time, duplicate: known(place) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ClientOptions;

    #[tokio::test]
    async fn an_event_of_another_key_is_refused_before_anything_is_sent() {
        let client = Client::lazy(ClientOptions::new("eventflow://127.0.0.1:1").expect("a url"));
        let events = vec![Event::new("1"), Event::new("2").with_key("b")];
        let refused = client.publish_expecting_last("accounts", "a", None, events).await.expect_err("refused");
        assert_eq!((refused.reason(), refused.applied()), ("INVALID_ARGUMENT", Applied::No));
    }
}
