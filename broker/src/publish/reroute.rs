//! What becomes of a queued request. A part that the broker sent by an old routing version goes again: the broker's memory of a
//! stream may be seconds old, and whoever leaves the choice of partitions to the broker need not know.

use crate::domain::event::Event;
use crate::domain::stream::Stream;
use crate::domain::{Applied, Error, Reason, Result};
use crate::identity::{Granted, Publish};
use crate::publish::chain::Chain;
use crate::publish::lane::Reply;
use crate::publish::terms::Expected;
use crate::publish::{Order, Outcome, PartitionOutcome, Pending, Publisher, Queued, Request};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often a part is routed: each time the stream has changed once more in between.
const ROUTES: usize = 8;
const RETRY: Duration = Duration::from_millis(100);

impl Publisher {
    /// Waits for every part of a request; one outcome a partition, in their order. A partition comes twice when the stream got
    /// partitions meanwhile. Requests of a publish stream are settled in their order.
    pub async fn settle(&self, queued: Queued, chain: Option<&Chain>) -> Vec<PartitionOutcome> {
        let order = Order { producer: None, after_refusal: queued.after_refusal, chain };
        let mut outcomes = Vec::with_capacity(queued.parts.len());
        let first = |part| (part, queued.stream.clone(), ROUTES - 1);
        let mut waiting: VecDeque<(Pending, Arc<Stream>, usize)> = queued.parts.into_iter().map(first).collect();
        while let Some((Pending { partition, events, warnings, reply }, stream, routes_left)) = waiting.pop_front() {
            let outcome = match heard(reply).await {
                Heard::Outcome(outcome) => outcome,
                Heard::Misrouted(again) => {
                    let again = Again { publisher: &queued.publisher, events: again, among: events.as_deref() };
                    match self.route_again((&stream, &queued.granted), again, routes_left, order).await {
                        Ok((stream, parts)) => {
                            for part in parts.into_iter().rev() {
                                waiting.push_front((part.among(events.as_deref()), stream.clone(), routes_left - 1));
                            }
                            continue;
                        }
                        Err(error) => Outcome::Refused(error.applied(Applied::No)),
                    }
                }
            };
            outcomes.push(PartitionOutcome { partition, events, warnings, outcome });
        }
        outcomes.sort_by_key(|outcome| outcome.partition);
        outcomes
    }

    /// Routes events by the stream as it is now.
    async fn route_again(
        &self,
        (known, granted): (&Stream, &Granted<Publish>),
        again: Again<'_>,
        routes_left: usize,
        order: Order<'_>,
    ) -> Result<(Arc<Stream>, Vec<Pending>)> {
        let found = match self.catalogue.stream_after(known).await {
            Ok(_) if routes_left == 0 => Err(changes_too_often(known)),
            Err(error) if error.reason() == Reason::StreamNotFound => self.stream(granted, &known.name).await,
            found => found,
        };
        let stream = match found {
            Ok(stream) => stream,
            Err(error) => {
                // Nobody knows where they would have gone: what follows must not overtake them anywhere.
                self.refuse_in_order(known, &known.partitions, &error, order).await;
                return Err(error);
            }
        };
        let request = Request {
            stream: stream.name.clone(),
            events: again.events,
            partition: None,
            producer: None,
            publisher: again.publisher.clone(),
            routing_version: 0,
            validate_only: false,
            after_refusal: order.after_refusal,
            // What has conditions is not routed again.
            expected: Expected::default(),
        };
        let parts = self.route(&stream, request, order, again.among).await?;
        Ok((stream, parts))
    }
}

/// Events that go once more.
struct Again<'a> {
    publisher: &'a Arc<str>,
    events: Vec<Event>,
    /// Their indexes in the request; None: all of it.
    among: Option<&'a [u32]>,
}

impl Pending {
    /// A part of a part: its indexes are those of the whole request.
    fn among(self, whole: Option<&[u32]>) -> Self {
        let events = match (self.events, whole) {
            (Some(picked), Some(whole)) => {
                Some(picked.iter().filter_map(|at| whole.get(*at as usize).copied()).collect())
            }
            (Some(picked), None) => Some(picked),
            (None, whole) => whole.map(<[u32]>::to_vec),
        };
        Self { events, ..self }
    }
}

enum Heard {
    Outcome(Outcome),
    Misrouted(Vec<Event>),
}

async fn heard(reply: Option<tokio::sync::oneshot::Receiver<Reply>>) -> Heard {
    let Some(reply) = reply else { return Heard::Outcome(Outcome::Validated) };
    Heard::Outcome(match reply.await {
        Ok(Reply::Misrouted(events)) => return Heard::Misrouted(events),
        Ok(Reply::Appended(appended)) => Outcome::Appended(appended),
        Ok(Reply::Refused(error)) => Outcome::Refused(error),
        Err(_) => Outcome::Refused(
            Error::new(Reason::OutcomeUnknown, "the broker stopped before the outcome was known")
                .applied(Applied::Unknown),
        ),
    })
}

fn changes_too_often(stream: &Stream) -> Error {
    let message =
        format!("the partitions of stream `{}` change too often; nothing was applied, try again", stream.name);
    Error::new(Reason::ConcurrentChange, message).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(events: Option<Vec<u32>>) -> Pending {
        Pending { partition: 0, events, warnings: Vec::new(), reply: None }
    }

    #[test]
    fn a_part_of_a_part_has_the_indexes_of_the_whole_request() {
        assert_eq!(part(Some(vec![0, 2])).among(Some(&[3, 5, 8])).events, Some(vec![3, 8]));
        assert_eq!(part(None).among(Some(&[3, 5])).events, Some(vec![3, 5]));
        assert_eq!(part(Some(vec![1])).among(None).events, Some(vec![1]));
        assert_eq!(part(None).among(None).events, None);
    }
}
