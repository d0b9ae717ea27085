//! Outcomes of single events.

use crate::delivery::control::{EventOutcome, OutcomeFailure, Verdict};
use crate::domain::limits::{
    ACK_TIMEOUT_MS_MAX, ERROR_CLASS_BYTES_MAX, OUTCOMES_MAX, REASON_BYTES_MAX, RETRY_MAX_MS_MAX,
};
use crate::domain::position::Fence;
use crate::domain::retry::Why;
use crate::domain::{Error, Result};
use crate::grpc::convert::time::duration_us;
use crate::grpc::status::to_error_status;
use eventflow_proto::v1::{self, event_outcome::Outcome};
use std::time::Duration;

/// Outcomes of one frame.
pub fn outcomes(wire: Vec<v1::EventOutcome>) -> Result<Vec<EventOutcome>> {
    if wire.len() > OUTCOMES_MAX {
        return Err(Error::invalid("outcomes.outcomes", format!("must be at most {OUTCOMES_MAX}")));
    }
    wire.into_iter().enumerate().map(|(place, outcome)| one(&format!("outcomes.outcomes[{place}]"), outcome)).collect()
}

fn one(field: &str, wire: v1::EventOutcome) -> Result<EventOutcome> {
    let offset = wire.offset.ok_or_else(|| Error::invalid(format!("{field}.offset"), "must be set"))?;
    let last = wire.last_offset.unwrap_or(offset);
    if offset < 0 || last < offset || last == i64::MAX {
        return Err(Error::invalid(format!("{field}.last_offset"), "must be at least `offset`, and both an offset"));
    }
    let verdict = match wire.outcome {
        Some(Outcome::Ack(_)) => Verdict::Ack,
        Some(Outcome::Nack(nack)) => Verdict::Nack {
            why: why(&format!("{field}.nack"), nack.reason, nack.error_class, nack.trace_id)?,
            delay_ms: milliseconds(&format!("{field}.nack.delay"), nack.delay.as_ref(), RETRY_MAX_MS_MAX)?,
        },
        Some(Outcome::DeadLetter(letter)) => Verdict::DeadLetter {
            why: why(&format!("{field}.dead_letter"), letter.reason, letter.error_class, letter.trace_id)?,
        },
        Some(Outcome::Extend(extend)) => {
            let by = milliseconds(&format!("{field}.extend.by"), extend.by.as_ref(), ACK_TIMEOUT_MS_MAX)?;
            Verdict::Extend { by: by.map(|by| Duration::from_millis(by.unsigned_abs())) }
        }
        None => return Err(Error::invalid(format!("{field}.outcome"), "must be set")),
    };
    let epoch = |name: &str, value: u64| {
        i64::try_from(value).map_err(|_| Error::invalid(format!("{field}.{name}"), "is not an epoch"))
    };
    let fence =
        Fence { log_epoch: epoch("log_epoch", wire.log_epoch)?, lease_epoch: epoch("lease_epoch", wire.lease_epoch)? };
    Ok(EventOutcome { partition: wire.partition, fence, offsets: offset..last + 1, verdict })
}

fn why(field: &str, reason: String, error_class: String, trace_id: String) -> Result<Why> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = trace_id.len() == 32 && trace_id.bytes().all(digit);
    if !trace_id.is_empty() && !is_id {
        return Err(Error::invalid(
            format!("{field}.trace_id"),
            "must be 32 hexadecimal digits in lower case, or empty",
        ));
    }
    Ok(Why {
        reason: cut(&format!("{field}.reason"), reason, REASON_BYTES_MAX)?,
        error_class: cut(&format!("{field}.error_class"), error_class, ERROR_CLASS_BYTES_MAX)?,
        trace_id,
    })
}

/// Text that Postgres takes, as much of it as is kept.
fn cut(field: &str, mut text: String, bytes_max: usize) -> Result<String> {
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not contain NUL"));
    }
    while text.len() > bytes_max {
        text.pop();
    }
    Ok(text)
}

fn milliseconds(field: &str, wire: Option<&prost_types::Duration>, max: i64) -> Result<Option<i64>> {
    let Some(wire) = wire else { return Ok(None) };
    let ms = duration_us(field, wire)?.div_euclid(1_000);
    if !(0..=max).contains(&ms) {
        return Err(Error::invalid(field, format!("must be 0 to {} seconds", max / 1_000)));
    }
    Ok(Some(ms))
}

pub fn outcome_response(frame_id: u64, failures: Vec<OutcomeFailure>) -> v1::CommitResponse {
    let failure = |failure: OutcomeFailure| v1::OutcomeFailure {
        partition: failure.partition,
        offset: failure.offsets.start,
        last_offset: failure.offsets.end - 1,
        error: Some(to_error_status(&failure.error)),
        log_epoch: failure.fence.log_epoch.unsigned_abs(),
        lease_epoch: failure.fence.lease_epoch.unsigned_abs(),
    };
    v1::CommitResponse { frame_id, results: Vec::new(), failures: failures.into_iter().map(failure).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nack(reason: &str) -> v1::EventOutcome {
        let nack = v1::Nack { reason: reason.into(), ..Default::default() };
        v1::EventOutcome { offset: Some(7), outcome: Some(Outcome::Nack(nack)), ..Default::default() }
    }

    #[test]
    fn long_reasons_are_cut_between_letters() {
        let outcome = outcomes(vec![nack(&"ä".repeat(2_000))]).expect("taken").remove(0);
        assert_eq!(outcome.offsets, 7..8);
        assert!(matches!(outcome.verdict, Verdict::Nack { why, .. } if why.reason == "ä".repeat(512)));
    }

    #[test]
    fn a_malformed_outcome_names_its_field() {
        let field = |wire: v1::EventOutcome| {
            let error = outcomes(vec![nack(""), wire]).expect_err("refused");
            error.violations()[0].field.clone()
        };
        assert_eq!(field(v1::EventOutcome { offset: None, ..nack("") }), "outcomes.outcomes[1].offset");
        assert_eq!(field(v1::EventOutcome { last_offset: Some(6), ..nack("") }), "outcomes.outcomes[1].last_offset");
        assert_eq!(field(v1::EventOutcome { outcome: None, ..nack("") }), "outcomes.outcomes[1].outcome");
        assert_eq!(field(nack("a\0b")), "outcomes.outcomes[1].nack.reason");
        for trace_id in ["4bf92f3577b34da6a3ce929d0e0e473", "4BF92F3577B34DA6A3CE929D0E0E4736"] {
            let traced = v1::Nack { trace_id: trace_id.into(), ..Default::default() };
            let traced = v1::EventOutcome { outcome: Some(Outcome::Nack(traced)), ..nack("") };
            assert_eq!(field(traced), "outcomes.outcomes[1].nack.trace_id");
        }
        let delay = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let late = v1::Nack { delay, ..Default::default() };
        let late = v1::EventOutcome { outcome: Some(Outcome::Nack(late)), ..nack("") };
        assert_eq!(field(late), "outcomes.outcomes[1].nack.delay");
    }
}
