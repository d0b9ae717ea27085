//! Between the session and the application: batches that wait to be taken.
//!
//! The window bounds it: a broker sends no more than what may be uncommitted.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::{
    batch::Batch,
    lease::{Lease, State},
};
use crate::error::Error;

/// A batch that waits for the application.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) lease: Arc<Lease>,
    pub(super) batch: Batch,
    pub(super) bytes: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Buffer {
    waiting: Mutex<Waiting>,
    /// The session should look at the leases.
    pub(super) attention: Notify,
    /// What was done since the last commit is worth a commit of its own.
    worth: AtomicBool,
    done_events: AtomicU64,
    done_bytes: AtomicU64,
    worth_events: u64,
    worth_bytes: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    waker: Option<Waker>,
    ended: Option<Ended>,
}

#[derive(Debug)]
enum Ended {
    /// With an error that has not been told yet.
    Failed(Error),
    Quietly,
}

impl Buffer {
    /// A buffer for a window of this size. A quarter of it is worth a commit.
    pub(super) fn new(window_events: u32, window_bytes: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            attention: Notify::new(),
            worth: AtomicBool::new(false),
            done_events: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            worth_events: u64::from(window_events / 4).max(1),
            worth_bytes: (window_bytes / 4).max(1),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, delivery: Delivery) {
        let waker = {
            let mut waiting = self.waiting();
            waiting.deliveries.push_back(delivery);
            waiting.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Nothing more will come.
    pub(super) fn end(&self, error: Option<Error>) {
        let waker = {
            let mut waiting = self.waiting();
            waiting.ended = Some(error.map_or(Ended::Quietly, Ended::Failed));
            waiting.deliveries.clear();
            waiting.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Drops what waits under leases that may not be given out any more.
    pub(super) fn purge(&self) {
        self.waiting().deliveries.retain(|delivery| delivery.lease.state() == State::Live);
    }

    /// The next batch that may be given out; `None` at the end.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery, Error>>> {
        let mut waiting = self.waiting();
        while let Some(delivery) = waiting.deliveries.pop_front() {
            if delivery.lease.state() == State::Live {
                return Poll::Ready(Some(Ok(delivery)));
            }
        }
        match waiting.ended.take() {
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(ended) => {
                waiting.ended = Some(Ended::Quietly);
                Poll::Ready(match ended {
                    Ended::Failed(error) => Some(Err(error)),
                    Ended::Quietly => None,
                })
            }
        }
    }

    /// The application has gone through a batch of this size.
    pub(super) fn went_through(&self, events: u64, bytes: u64) {
        let events = self.done_events.fetch_add(events, Ordering::Relaxed) + events;
        let bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if events >= self.worth_events || bytes >= self.worth_bytes {
            self.done_events.store(0, Ordering::Relaxed);
            self.done_bytes.store(0, Ordering::Relaxed);
            self.worth.store(true, Ordering::Release);
            self.attention.notify_one();
        }
    }

    /// True once after enough has been done for a commit.
    pub(super) fn take_worth(&self) -> bool {
        self.worth.swap(false, Ordering::AcqRel)
    }
}
