//! Receipts: what became of each event.
//!
//! One [`Outcome`] stands for a whole gathered batch; a receipt is a reference to it and an index. So a batch of a thousand
//! events costs one allocation and one wake-up, not a thousand.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::parcel::Placement;
use crate::{
    error::{Error, Result},
    position::Appended,
};

/// What became of the events that were gathered together.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Number of the gathered batch, in the order of their beginnings.
    pub(super) serial: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Parts whose fate is known. Nearly always one part, which is the whole batch.
    parts: Vec<Part>,
    /// Grows with each part.
    round: u64,
    /// Of this round.
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Part {
    first: u32,
    count: u32,
    fate: Fate,
}

#[derive(Debug, Clone)]
enum Fate {
    /// Where the part's first event stands is `skip` events into the placement.
    Appended {
        placement: Arc<Placement>,
        skip: u32,
    },
    Failed(Error),
}

impl Outcome {
    pub(super) fn new(serial: u64) -> Arc<Self> {
        Arc::new(Self { serial, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn appended(&self, first: u32, count: u32, placement: &Arc<Placement>, skip: u32) {
        self.settle(Part { first, count, fate: Fate::Appended { placement: Arc::clone(placement), skip } });
    }

    pub(super) fn failed(&self, first: u32, count: u32, error: &Error) {
        self.settle(Part { first, count, fate: Fate::Failed(error.clone()) });
    }

    /// The first word about an event stands: a receipt that gave up does not change its mind.
    fn settle(&self, part: Part) {
        let wakers = {
            let mut known = self.known();
            known.parts.push(part);
            known.round += 1;
            std::mem::take(&mut known.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Known {
    fn of(&self, index: u32) -> Option<Result<Appended>> {
        let part = self.parts.iter().find(|part| (part.first..part.first + part.count).contains(&index))?;
        Some(match &part.fate {
            Fate::Appended { placement, skip } => Ok(placement.at(skip + (index - part.first))),
            Fate::Failed(error) => Err(error.clone()),
        })
    }
}

/// A future that gives where an event stands, once it is durable, or why it is not there. Dropping it does not stop the
/// event.
#[derive(Debug)]
pub struct Receipt {
    outcome: Arc<Outcome>,
    index: u32,
    /// In which round of the outcome it was registered, and for which task.
    waker: Option<(u64, Waker)>,
}

impl Receipt {
    pub(super) fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self { outcome, index, waker: None }
    }

    /// What is known now, without waiting; `None` while the event is on its way.
    pub fn outcome(&self) -> Option<Result<Appended>> {
        self.outcome.known().of(self.index)
    }
}

impl Future for Receipt {
    type Output = Result<Appended>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut known = this.outcome.known();
        if let Some(appended) = known.of(this.index) {
            return Poll::Ready(appended);
        }
        // The list is emptied whenever a part is settled, which begins a round; in each a receipt registers each of its tasks once.
        let round = known.round;
        if !this.waker.as_ref().is_some_and(|(last, waker)| *last == round && waker.will_wake(cx.waker())) {
            known.wakers.push(cx.waker().clone());
            this.waker = Some((round, cx.waker().clone()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use futures_util::stream::{FuturesUnordered, StreamExt};

    use super::*;

    #[tokio::test]
    async fn receipts_that_are_awaited_side_by_side_all_hear_of_parts_that_are_settled_one_by_one() {
        let outcome = Outcome::new(1);
        // Each has a waker of its own here.
        let mut receipts: FuturesUnordered<Receipt> =
            (0..3).map(|index| Receipt::new(Arc::clone(&outcome), index)).collect();
        let placement = Arc::new(Placement {
            partition: 0,
            log_epoch: 1,
            append_time: UNIX_EPOCH,
            duplicate: false,
            known: Vec::new(),
            runs: vec![(0, 3)],
        });
        for index in [1, 2, 0] {
            // All that are left are asked, and wait.
            assert!(futures_util::poll!(receipts.next()).is_pending());
            outcome.appended(index, 1, &placement, index);
            let Poll::Ready(Some(settled)) = futures_util::poll!(receipts.next()) else {
                panic!("{index} was not told")
            };
            assert_eq!(settled.expect("appended").offset, i64::from(index));
        }
    }
}
