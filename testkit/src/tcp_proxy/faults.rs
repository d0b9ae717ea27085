//! What a proxy has been told to do, and what it has seen.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::jitter::Jitter;

/// A direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What a proxy has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that the proxy itself ended.
    pub ended_by_proxy: u64,
    /// Bytes delivered to the server.
    pub bytes_up: u64,
    /// Bytes delivered to clients.
    pub bytes_down: u64,
    /// False while new connections are refused.
    pub listening: bool,
    /// The number of the oldest open connection, counted from 0.
    pub(super) oldest_open: Option<u64>,
}

/// Faults of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lane {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) stalled: bool,
}

/// Faults of the whole proxy.
#[derive(Debug, Default)]
pub(super) struct Faults {
    up: Lane,
    down: Lane,
    pub(super) refusing: bool,
    /// Connections with a smaller number are to be closed.
    pub(super) closed_below: u64,
    /// Connections with a smaller number are to be reset.
    pub(super) reset_below: u64,
}

impl Faults {
    pub(super) fn lane(&self, direction: Direction) -> Lane {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }

    pub(super) fn lane_mut(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Forgets everything but the connections that were ended.
    pub(super) fn heal(&mut self) {
        self.up = Lane::default();
        self.down = Lane::default();
        self.refusing = false;
    }

    pub(super) fn limit_marks(&mut self, next: u64) {
        self.closed_below = self.closed_below.min(next);
        self.reset_below = self.reset_below.min(next);
    }
}

/// What handle and connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) faults: watch::Sender<Faults>,
    pub(super) counters: watch::Sender<Counters>,
    /// Bytes left before the cut, for up and down.
    cuts: Mutex<[Option<u64>; 2]>,
    open: Mutex<BTreeSet<u64>>,
    jitter: Mutex<Jitter>,
}

impl Shared {
    pub(super) fn new(seed: u64) -> Shared {
        let counters = Counters { listening: true, ..Counters::default() };
        Shared {
            faults: watch::Sender::new(Faults::default()),
            counters: watch::Sender::new(counters),
            cuts: Mutex::default(),
            open: Mutex::default(),
            jitter: Mutex::new(Jitter::new(seed)),
        }
    }

    pub(super) fn set_cut(&self, direction: Direction, bytes: Option<u64>) {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)[direction as usize] = bytes;
    }

    /// How many of `wanted` bytes may be delivered, and whether the connection is to be cut after them.
    pub(super) fn admit(&self, direction: Direction, wanted: usize) -> (usize, bool) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = &mut cuts[direction as usize];
        let Some(left) = *cut else {
            return (wanted, false);
        };
        let admitted = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        if admitted < wanted {
            *cut = None;
            return (admitted, true);
        }
        *cut = Some(left - admitted as u64);
        (admitted, false)
    }

    pub(super) fn jitter_below(&self, limit: Duration) -> Duration {
        let mut jitter = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        jitter.below(limit)
    }

    pub(super) fn opened(&self) -> u64 {
        let mut number = 0;
        self.counters.send_modify(|counters| {
            number = counters.accepted;
            counters.accepted += 1;
            self.count_open(counters, |open| open.insert(number));
        });
        number
    }

    pub(super) fn closed(&self, number: u64) {
        self.counters.send_modify(|counters| self.count_open(counters, |open| open.remove(&number)));
    }

    fn count_open(&self, counters: &mut Counters, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut open);
        counters.open = open.len() as u64;
        counters.oldest_open = open.first().copied();
    }

    pub(super) fn delivered(&self, direction: Direction, bytes: usize) {
        self.counters.send_modify(|counters| match direction {
            Direction::Up => counters.bytes_up += bytes as u64,
            Direction::Down => counters.bytes_down += bytes as u64,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_admits_exactly_its_bytes_and_happens_once() {
        let shared = Shared::new(0);
        shared.set_cut(Direction::Up, Some(10));
        assert_eq!(shared.admit(Direction::Down, 100), (100, false));
        assert_eq!(shared.admit(Direction::Up, 10), (10, false));
        assert_eq!(shared.admit(Direction::Up, 1), (0, true));
        assert_eq!(shared.admit(Direction::Up, 1), (1, false));
    }
}
