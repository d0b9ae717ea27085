//! A publish that happens only if its partition still ends where the caller believes.

use bytes::Bytes;
use eventflow_proto::v1::{self, partition_result::Outcome};
use uuid::Uuid;

use super::{builder::routing, validate::validate};
use crate::{
    client::Client,
    connection::Transport,
    convert::{event_to_wire, required, time_from_wire},
    error::{Applied, Error, Result},
    event::Event,
    position::Appended,
};

/// Publishes the events in one request. It has a producer of its own, so that a repeat after a lost answer finds out what became
/// of the first attempt.
pub(crate) async fn publish_expecting(
    client: &Client,
    stream: &str,
    partition: u32,
    expected_next_offset: i64,
    events: Vec<Event>,
) -> Result<Vec<Appended>> {
    let routing = routing(client, stream).await?;
    events.iter().try_for_each(|event| validate(event, routing.max_event_bytes))?;
    let id = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
    let request = v1::PublishRequest {
        stream: stream.to_owned(),
        events: events.into_iter().map(event_to_wire).collect(),
        partition: Some(partition),
        producer: Some(v1::Producer { id, epoch: 0, first_sequence: 0 }),
        routing_version: routing.version,
        expected_next_offset: Some(expected_next_offset),
        ..v1::PublishRequest::default()
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
