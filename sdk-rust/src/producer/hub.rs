//! Where the producers of one stream meet the task that sends for all of them.
//!
//! A thousand producers with one event each would otherwise be a thousand tasks and calls, which cost more than the events.
//! The [sender](super::sender) starts with the first producer and ends with the last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::source::Source;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// The sender has something to look at.
    wake: Notify,
}

#[derive(Default)]
struct State {
    joining: Vec<Source>,
    /// Producers that have gathered something or have ended, since the sender looked.
    news: Vec<u64>,
    next_id: u64,
    is_running: bool,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new producer.
    pub(super) fn next_id(&self) -> u64 {
        let mut state = self.state();
        state.next_id += 1;
        state.next_id
    }

    /// Adds a producer; true when a sender must be started for it.
    pub(super) fn join(&self, source: Source) -> bool {
        let mut state = self.state();
        state.joining.push(source);
        self.wake.notify_one();
        !std::mem::replace(&mut state.is_running, true)
    }

    pub(super) fn tell(&self, id: u64) {
        self.state().news.push(id);
        self.wake.notify_one();
    }

    pub(super) async fn told(&self) {
        self.wake.notified().await;
    }

    /// Who has joined, and who has news.
    pub(super) fn take(&self) -> (Vec<Source>, Vec<u64>) {
        let mut state = self.state();
        (std::mem::take(&mut state.joining), std::mem::take(&mut state.news))
    }

    /// The sender has nobody left: true when it may end, false when somebody has joined meanwhile.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state();
        state.is_running = !state.joining.is_empty();
        !state.is_running
    }
}
