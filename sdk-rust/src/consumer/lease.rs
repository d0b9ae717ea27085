//! A partition in the hands of this consumer: how far the application has come, and whether it may go on.
//!
//! The application's side moves positions, the session's side reads them; both without a lock, because it happens for every
//! record.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// See the [module](self). It lives on when the session is re-attached.
#[derive(Debug)]
pub(super) struct Lease {
    /// The application is done with everything below.
    done: AtomicI64,
    /// The application was given everything below.
    yielded: AtomicI64,
    state: AtomicU8,
}

/// Whether events of a lease may be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Going to another member: nothing more is given out, what was is committed.
    Draining,
    /// No longer ours.
    Gone,
}

impl Lease {
    pub(super) fn new(next_offset: i64) -> Self {
        Self {
            done: AtomicI64::new(next_offset),
            yielded: AtomicI64::new(next_offset),
            state: AtomicU8::new(State::Live as u8),
        }
    }

    pub(super) fn done(&self) -> i64 {
        self.done.load(Ordering::SeqCst)
    }

    pub(super) fn yielded(&self) -> i64 {
        self.yielded.load(Ordering::SeqCst)
    }

    /// Everything below an offset is done; never moves back.
    pub(super) fn set_done(&self, next_offset: i64) {
        self.done.fetch_max(next_offset, Ordering::SeqCst);
    }

    /// Everything below an offset has been given out. Only the application's side calls it.
    pub(super) fn set_yielded(&self, next_offset: i64) {
        self.yielded.store(next_offset, Ordering::SeqCst);
    }

    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::SeqCst) {
            0 => State::Live,
            1 => State::Draining,
            _ => State::Gone,
        }
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }
}
