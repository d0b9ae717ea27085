//! Polls and acknowledgements.

use crate::delivery::Subscription;
use crate::delivery::control::{CommitAnswer, OutcomeFailure};
use crate::delivery::frame::{Delivery, Frame};
use crate::delivery::polling::{Cursor, Polled};
use crate::domain::ids::{GroupName, check_member_name};
use crate::domain::limits::{
    CLIENT_BYTES_MAX, POLL_BYTES_DEFAULT, POLL_BYTES_MAX, POLL_EVENTS_DEFAULT, POLL_EVENTS_MAX, POLL_WAIT_MS_DEFAULT,
    POLL_WAIT_MS_MAX, WINDOW_BYTES_DEFAULT,
};
use crate::domain::{Error, Result};
use crate::grpc::convert::delivery::{commit_response, redelivery, stored};
use crate::grpc::convert::outcome::outcome_response;
use crate::grpc::convert::time::duration_us;
use eventflow_proto::v1::{self, PayloadView};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Answers that may be under way: what a session may hold is as many times what one answer may have.
const ANSWERS: u32 = 4;

/// The answer to go on behind; None: the first.
pub fn cursor(request: &v1::PollRequest) -> Result<Option<Cursor>> {
    if request.cursor.is_empty() {
        return Ok(None);
    }
    let said = [
        ("group", !request.group.is_empty()),
        ("member_name", !request.member_name.is_empty()),
        ("client", !request.client.is_empty()),
        ("max_events", request.max_events > 0),
        ("max_bytes", request.max_bytes > 0),
    ];
    if let Some((field, _)) = said.iter().find(|(_, said)| *said) {
        return Err(Error::invalid(*field, "belongs to the session: it is for the first poll, without a cursor"));
    }
    let cursor = Cursor::parse(&request.cursor);
    cursor.map(Some).ok_or_else(|| Error::invalid("cursor", "is not the cursor of an answer"))
}

pub fn wait(request: &v1::PollRequest) -> Result<Duration> {
    let ms = match &request.wait {
        None => POLL_WAIT_MS_DEFAULT,
        Some(wait) => duration_us("wait", wait)?.div_euclid(1_000),
    };
    if !(0..=POLL_WAIT_MS_MAX).contains(&ms) {
        return Err(Error::invalid("wait", format!("must be 0 to {} seconds", POLL_WAIT_MS_MAX / 1_000)));
    }
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// The session of a first poll.
pub fn subscription(wire: v1::PollRequest, client_address: String) -> Result<Subscription> {
    let group = GroupName::parse("group", &wire.group)?;
    let member = (!wire.member_name.is_empty()).then_some(wire.member_name);
    if let Some(name) = &member {
        check_member_name("member_name", name)?;
    }
    if wire.client.len() > CLIENT_BYTES_MAX || wire.client.contains('\0') {
        return Err(Error::invalid("client", format!("must be at most {CLIENT_BYTES_MAX} bytes without NUL")));
    }
    if wire.max_events > POLL_EVENTS_MAX {
        return Err(Error::invalid("max_events", format!("must be at most {POLL_EVENTS_MAX}")));
    }
    if wire.max_bytes > POLL_BYTES_MAX {
        return Err(Error::invalid("max_bytes", format!("must be at most {POLL_BYTES_MAX}")));
    }
    let events = if wire.max_events == 0 { POLL_EVENTS_DEFAULT } else { wire.max_events };
    let bytes = if wire.max_bytes == 0 { POLL_BYTES_DEFAULT } else { wire.max_bytes };
    Ok(Subscription {
        group,
        member,
        window_events: events * ANSWERS,
        window_bytes: WINDOW_BYTES_DEFAULT,
        redeliveries: true,
        batch: (events.into(), bytes),
        // Who does not poll is noticed where the frames wait.
        silence_limit: None,
        client: wire.client,
        client_address,
        // The session is not its connection's.
        going: CancellationToken::new(),
        withdrawn: CancellationToken::new(),
    })
}

pub fn poll_response(polled: &Polled, payloads: PayloadView) -> v1::PollResponse {
    let seconds = |time: Duration| prost_types::Duration {
        seconds: time.as_secs().cast_signed(),
        nanos: time.subsec_nanos().cast_signed(),
    };
    let mut answer = v1::PollResponse {
        cursor: polled.cursor.to_text(),
        session_id: polled.cursor.session.to_string(),
        member_name: polled.started.member.clone(),
        shared: polled.started.shared,
        ack_timeout: Some(seconds(polled.started.ack_timeout)),
        idle_timeout: Some(seconds(polled.idle)),
        ..v1::PollResponse::default()
    };
    for frame in &polled.frames {
        add(&mut answer, frame, payloads);
    }
    answer
}

fn add(answer: &mut v1::PollResponse, frame: &Frame, payloads: PayloadView) {
    match frame {
        Frame::Batch(delivery) | Frame::Dealt { delivery, .. } => answer.events.extend(first(delivery, payloads)),
        Frame::Redelivered { events, .. } => {
            let again = events.iter().map(|event| redelivery(event.clone(), payloads));
            answer.events.extend(again.map(|again| v1::PolledEvent {
                event: again.event,
                lease_epoch: again.lease_epoch,
                attempt: again.attempt,
                last_reason: again.last_reason,
                last_error_class: again.last_error_class,
                redriven: again.redriven,
            }));
        }
        Frame::Repositioned(lease) => void(answer, &[lease.partition]),
        Frame::Lost(partitions) => void(answer, partitions),
        Frame::Truncated { partition, from, to, resumed } => answer.truncated.push(v1::Truncated {
            partition: *partition,
            from_offset: *from,
            to_offset: *to,
            log_epoch: crate::domain::position::LogEpoch::of(*to).0.unsigned_abs(),
            resumed: *resumed,
        }),
        Frame::Started(_) | Frame::Assigned(_) | Frame::Revoking { .. } | Frame::Heartbeat { .. } => {}
        Frame::GoAway { .. } => {}
    }
}

/// Also what this very answer had of them.
fn void(answer: &mut v1::PollResponse, partitions: &[u32]) {
    let is_of =
        |event: &v1::PolledEvent| event.event.as_ref().is_some_and(|event| partitions.contains(&event.partition));
    answer.events.retain(|event| !is_of(event));
    for partition in partitions {
        if !answer.void_partitions.contains(partition) {
            answer.void_partitions.push(*partition);
        }
    }
}

/// Events of the log, one by one.
fn first(delivery: &Delivery, payloads: PayloadView) -> Vec<v1::PolledEvent> {
    let lease_epoch = delivery.fence.lease_epoch.unsigned_abs();
    let events = delivery.ranges().into_iter().flat_map(|events| {
        let part = Delivery { events, picked: None, ..delivery.clone() };
        stored(&part, payloads)
    });
    let event = |event| v1::PolledEvent { event: Some(event), lease_epoch, attempt: 1, ..v1::PolledEvent::default() };
    events.map(event).collect()
}

pub fn session_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| Error::invalid("session_id", "is not the id of a session; the answer of a Poll has it"))
}

pub fn acknowledge_response(answers: Vec<CommitAnswer>, failures: Vec<OutcomeFailure>) -> v1::AcknowledgeResponse {
    v1::AcknowledgeResponse {
        results: commit_response(0, answers).results,
        failures: outcome_response(0, failures).failures,
    }
}
