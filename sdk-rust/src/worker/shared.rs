//! Between the membership and the application: events that wait to be taken, and what became of those that were.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::{Context, Poll, Waker},
};

use tokio::sync::{Notify, oneshot};

use super::{
    job::Job,
    outbox::{Said, Which},
};
use crate::{
    error::{Error, ErrorKind, Result, reason},
    position::Record,
};

/// An event that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) record: Record,
    pub(super) attempt: u32,
    pub(super) last_reason: String,
    pub(super) last_class: String,
    pub(super) which: Which,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The membership should look: something was said, or the worker is to be closed.
    pub(super) attention: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Waiting>,
    waker: Option<Waker>,
    said: Vec<Said>,
    ended: Option<Option<Error>>,
    closing: Option<oneshot::Sender<Result<()>>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, waiting: impl IntoIterator<Item = Waiting>) {
        let waker = {
            let mut state = self.state();
            state.ready.extend(waiting);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Drops what waits and does not satisfy a condition.
    pub(super) fn retain(&self, keep: impl Fn(&Which) -> bool) {
        self.state().ready.retain(|waiting| keep(&waiting.which));
    }

    /// Nothing more will come.
    pub(super) fn end(&self, error: Option<Error>) {
        let (waker, said) = {
            let mut state = self.state();
            state.ready.clear();
            state.ended.get_or_insert(error);
            (state.waker.take(), std::mem::take(&mut state.said))
        };
        refuse(said);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_next(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Job>>> {
        let mut state = self.state();
        if let Some(Waiting { record, attempt, last_reason, last_class, which }) = state.ready.pop_front() {
            let (shared, settled) = (Arc::clone(self), AtomicBool::new(false));
            return Poll::Ready(Some(Ok(Job { record, attempt, last_reason, last_class, which, shared, settled })));
        }
        match &mut state.ended {
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    pub(super) fn say(&self, said: Said) {
        let mut state = self.state();
        if state.ended.is_some() {
            drop(state);
            refuse(vec![said]);
            return;
        }
        state.said.push(said);
        drop(state);
        self.attention.notify_one();
    }

    /// What did not fit into a frame is for the next one.
    pub(super) fn say_later(&self, said: Vec<Said>) {
        if said.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.ended.is_some() {
            drop(state);
            return refuse(said);
        }
        state.said.extend(said);
    }

    pub(super) fn take_said(&self) -> Vec<Said> {
        std::mem::take(&mut self.state().said)
    }

    pub(super) fn close(&self, reply: oneshot::Sender<Result<()>>) {
        let mut state = self.state();
        state.ready.clear();
        state.closing = Some(reply);
        drop(state);
        self.attention.notify_one();
    }

    pub(super) fn take_closing(&self) -> Option<oneshot::Sender<Result<()>>> {
        self.state().closing.take()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing.is_some()
    }
}

/// Whoever waits hears that the event is not this worker's any more.
pub(super) fn refuse(said: Vec<Said>) {
    for waiter in said.into_iter().filter_map(|said| said.waiter) {
        let message = "the membership that got the event has ended; the event comes again to whoever gets it";
        let _ = waiter.send(Err(Error::new(ErrorKind::FailedPrecondition, reason::PARTITION_NOT_HELD, message)));
    }
}
