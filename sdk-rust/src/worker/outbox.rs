//! What became of events, on its way to the broker: merged into as few outcomes as it takes. Pure but for whoever waits.

use eventflow_proto::{
    limits::OUTCOMES_MAX,
    v1::{self, event_outcome::Outcome},
};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::{
    convert::duration_to_wire,
    error::{Error, Result},
};

/// Reasons and classes of one frame, which with everything else stays far below what a message may have.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// An event as it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    /// Memberships so far: what an earlier one was given is not this one's.
    pub(super) generation: u64,
    pub(super) partition: u32,
    pub(super) log_epoch: u64,
    pub(super) lease_epoch: u64,
    pub(super) offset: i64,
}

/// What became of an event.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) which: Which,
    pub(super) failure: Option<Failure>,
    pub(super) waiter: Option<oneshot::Sender<Result<()>>>,
}

/// The next frame of outcomes, and what was said in it. What does not fit into one stays; it is in order afterwards.
pub(super) fn frame(all: &mut Vec<Said>) -> (v1::CommitOutcomes, Vec<Said>) {
    all.sort_by_key(|said| said.which);
    let mut outcomes: Vec<v1::EventOutcome> = Vec::new();
    let (mut bytes, mut fitting) = (0, 0);
    for said in all.iter() {
        let is_ack = said.failure.is_none();
        if let Some(last) = outcomes.last_mut()
            && is_ack
            && matches!(last.outcome, Some(Outcome::Ack(_)))
            && follows(last, said.which)
        {
            last.last_offset = Some(said.which.offset);
            fitting += 1;
            continue;
        }
        bytes += said
            .failure
            .as_ref()
            .map_or(0, |failure| failure.reason.len() + failure.class.len() + failure.trace_id.len());
        if outcomes.len() >= OUTCOMES_MAX || (bytes > FRAME_BYTES_MAX && !outcomes.is_empty()) {
            break;
        }
        fitting += 1;
        outcomes.push(wire(said.which, outcome(said.failure.as_ref())));
    }
    let left = all.split_off(fitting);
    (v1::CommitOutcomes { outcomes }, std::mem::replace(all, left))
}

/// More time for events, which are in order.
pub(super) fn extension(held: impl Iterator<Item = Which>) -> v1::CommitOutcomes {
    let mut outcomes: Vec<v1::EventOutcome> = Vec::new();
    for which in held {
        match outcomes.last_mut() {
            Some(last) if follows(last, which) => last.last_offset = Some(which.offset),
            _ => outcomes.push(wire(which, Outcome::Extend(v1::Extend { by: None }))),
        }
    }
    outcomes.truncate(OUTCOMES_MAX);
    v1::CommitOutcomes { outcomes }
}

fn follows(last: &v1::EventOutcome, which: Which) -> bool {
    let epochs = (last.partition, last.log_epoch, last.lease_epoch);
    let end = last.last_offset.or(last.offset).map(|offset| offset + 1);
    epochs == (which.partition, which.log_epoch, which.lease_epoch) && end == Some(which.offset)
}

fn wire(which: Which, outcome: Outcome) -> v1::EventOutcome {
    v1::EventOutcome {
        partition: which.partition,
        log_epoch: which.log_epoch,
        lease_epoch: which.lease_epoch,
        offset: Some(which.offset),
        last_offset: None,
        outcome: Some(outcome),
    }
}

/// An acknowledgement, or a failure.
pub(crate) fn outcome(failure: Option<&Failure>) -> Outcome {
    match failure {
        None => Outcome::Ack(v1::Ack {}),
        Some(Failure { reason, class, is_final: true, trace_id, .. }) => Outcome::DeadLetter(v1::DeadLetter {
            reason: reason.clone(),
            error_class: class.clone(),
            trace_id: trace_id.clone(),
        }),
        Some(Failure { reason, class, delay, trace_id, .. }) => Outcome::Nack(v1::Nack {
            reason: reason.clone(),
            error_class: class.clone(),
            delay: delay.map(duration_to_wire),
            trace_id: trace_id.clone(),
        }),
    }
}

/// Tells those who wait: what was refused, and what is durable.
pub(super) fn answer(said: Vec<Said>, failures: &[v1::OutcomeFailure]) {
    for said in said {
        let which = said.which;
        let refused = failures.iter().find(|failure| {
            (failure.partition, failure.log_epoch, failure.lease_epoch)
                == (which.partition, which.log_epoch, which.lease_epoch)
                && (failure.offset..=failure.last_offset).contains(&which.offset)
        });
        let error = refused.map(|failure| Error::from(failure.error.clone().unwrap_or_default()));
        if let Some(error) = &error {
            tracing::debug!(%error, partition = which.partition, offset = which.offset, "an outcome was refused");
        }
        if let Some(waiter) = said.waiter {
            // Who gave up waiting does not need to know.
            let _ = waiter.send(error.map_or(Ok(()), Err));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(partition: u32, offset: i64, failure: Option<Failure>) -> Said {
        let which = Which { generation: 1, partition, log_epoch: 0, lease_epoch: 7, offset };
        Said { which, failure, waiter: None }
    }

    #[tokio::test]
    async fn a_refusal_is_for_the_delivery_that_it_names() {
        let (late, told_late) = oneshot::channel();
        let (again, told_again) = oneshot::channel();
        let mut said = [said(0, 3, None), said(0, 3, None)];
        (said[0].which.lease_epoch, said[0].waiter) = (12, Some(late));
        (said[1].which.lease_epoch, said[1].waiter) = (13, Some(again));
        let refused = v1::OutcomeFailure {
            offset: 3,
            last_offset: 3,
            lease_epoch: 12,
            error: Some(v1::ErrorStatus { reason: "EVENT_NOT_IN_FLIGHT".into(), ..Default::default() }),
            ..Default::default()
        };
        answer(said.into(), &[refused]);
        assert_eq!(told_late.await.expect("answered").expect_err("refused").reason(), "EVENT_NOT_IN_FLIGHT");
        told_again.await.expect("answered").expect("durable");
    }

    #[test]
    fn what_does_not_fit_into_a_frame_is_in_the_next_one() {
        let every_second = |offset| said(0, offset * 2, None);
        let mut all: Vec<Said> = (0..OUTCOMES_MAX as i64 + 5).map(every_second).collect();
        // Makes one outcome of the last one that fits and the first one that would not.
        all.push(said(0, OUTCOMES_MAX as i64 * 2 - 1, None));
        let (first, in_it) = frame(&mut all);
        assert_eq!((first.outcomes.len(), in_it.len(), all.len()), (OUTCOMES_MAX, OUTCOMES_MAX + 2, 4));
        let (second, in_it) = frame(&mut all);
        assert_eq!((second.outcomes.len(), in_it.len(), all.len()), (4, 4, 0));
        assert_eq!(second.outcomes[0].offset, Some(OUTCOMES_MAX as i64 * 2 + 2));

        let mut all: Vec<Said> = (0..3).map(|at| said(0, at, Some(Failure::retry("x".repeat(600 * 1024))))).collect();
        let sizes: Vec<usize> = (0..3).map(|_| frame(&mut all).1.len()).collect();
        assert_eq!((sizes, all.len()), (vec![1, 1, 1], 0));
    }

    #[test]
    fn acks_that_follow_one_another_are_one_outcome() {
        let mut all = vec![
            said(0, 3, None),
            said(1, 0, None),
            said(0, 1, None),
            said(0, 2, Some(Failure::retry("busy").after(std::time::Duration::from_secs(2)))),
            said(0, 4, None),
            said(0, 6, Some(Failure::give_up("never"))),
        ];
        let (v1::CommitOutcomes { outcomes }, in_it) = frame(&mut all);
        assert_eq!((in_it.len(), all.len()), (6, 0));
        let ranges: Vec<_> =
            outcomes.iter().map(|one| (one.partition, one.offset.unwrap_or(-1), one.last_offset)).collect();
        assert_eq!(ranges, [(0, 1, None), (0, 2, None), (0, 3, Some(4)), (0, 6, None), (1, 0, None)]);
        assert!(matches!(&outcomes[1].outcome, Some(Outcome::Nack(nack)) if nack.delay.is_some()));
        assert!(matches!(&outcomes[3].outcome, Some(Outcome::DeadLetter(_))));
    }
}
