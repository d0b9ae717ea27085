//! Which answer belongs to which request. Pure: it is told every message and does nothing.
//!
//! Requests come in cycles. A cycle ends with Sync or is one simple query; the server ends its answer with
//! exactly one ReadyForQuery, so counting those is enough, however deep a client pipelines. One exception: while
//! the server takes COPY data in the extended protocol it ignores Sync.

use std::collections::{HashMap, VecDeque};

use super::frame::{Frame, text};
use super::rules::Execution;

/// What a message from the client means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// An execution; `alone` when it is a cycle by itself, a simple query.
    Execution { execution: Execution, alone: bool },
    /// Sync: the end of a cycle.
    End,
    /// Anything else.
    Other,
}

/// Follows one session.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    statements: HashMap<String, String>,
    /// Portal to statement.
    portals: HashMap<String, String>,
    /// Cycles that the server has not answered yet, with whether they are simple queries.
    outstanding: VecDeque<(u64, bool)>,
    next_cycle: u64,
    started: bool,
    copying: bool,
}

impl Tracker {
    /// Takes in a message of the client. Returns the cycle that it belongs to.
    pub(super) fn frontend(&mut self, frame: &Frame) -> (u64, Request) {
        let cycle = self.next_cycle;
        let request = match frame.kind() {
            b'P' => {
                let (name, rest) = text(frame.body());
                self.statements.insert(name, text(rest).0);
                Request::Other
            }
            b'B' => {
                let (portal, rest) = text(frame.body());
                self.portals.insert(portal, text(rest).0);
                Request::Other
            }
            b'E' => Request::Execution { execution: self.execution(&text(frame.body()).0), alone: false },
            b'Q' => {
                self.end_cycle(true);
                let (sql, _) = text(frame.body());
                Request::Execution { execution: Execution { statement: None, sql }, alone: true }
            }
            b'S' => {
                self.end_cycle(false);
                Request::End
            }
            b'c' | b'f' => {
                self.end_copy();
                Request::Other
            }
            _ => Request::Other,
        };
        (cycle, request)
    }

    /// Takes in a message of the server. Returns the cycle that it answers; `None` before the session is ready.
    pub(super) fn backend(&mut self, frame: &Frame) -> Option<u64> {
        let cycle = self.outstanding.front().map_or(self.next_cycle, |(cycle, _)| *cycle);
        let started = self.started;
        match frame.kind() {
            b'Z' => {
                if started {
                    self.outstanding.pop_front();
                }
                self.started = true;
                self.copying = false;
            }
            b'G' => self.copying = true,
            _ => {}
        }
        started.then_some(cycle)
    }

    fn execution(&self, portal: &str) -> Execution {
        let statement = self.portals.get(portal).cloned().unwrap_or_default();
        Execution { sql: self.statements.get(&statement).cloned().unwrap_or_default(), statement: Some(statement) }
    }

    fn end_cycle(&mut self, simple: bool) {
        self.outstanding.push_back((self.next_cycle, simple));
        self.next_cycle += 1;
    }

    /// The Syncs that were sent since the COPY began were ignored: their cycle is still open.
    fn end_copy(&mut self) {
        if !std::mem::take(&mut self.copying) {
            return;
        }
        if let Some((cycle, false)) = self.outstanding.front().copied() {
            self.outstanding.clear();
            self.next_cycle = cycle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Frame {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        Frame { bytes }
    }

    fn ready() -> Tracker {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.backend(&frame(b'R', b"")), None);
        assert_eq!(tracker.backend(&frame(b'Z', b"I")), None);
        tracker
    }

    #[test]
    fn an_execution_is_known_by_the_sql_of_its_statement() {
        let mut tracker = ready();
        tracker.frontend(&frame(b'P', b"s1\0select append_v1($1)\0\0\0"));
        tracker.frontend(&frame(b'S', b""));
        tracker.frontend(&frame(b'B', b"\0s1\0\0\0\0\0\0\0"));
        let (cycle, request) = tracker.frontend(&frame(b'E', b"\0\0\0\0\0"));
        let expected = Execution { statement: Some("s1".into()), sql: "select append_v1($1)".into() };
        let execution = Request::Execution { execution: expected, alone: false };
        assert_eq!((cycle, request), (1, execution));
    }

    #[test]
    fn answers_find_their_cycle_in_a_pipeline() {
        let mut tracker = ready();
        tracker.frontend(&frame(b'S', b""));
        tracker.frontend(&frame(b'Q', b"select 1\0"));
        tracker.frontend(&frame(b'E', b"\0\0\0\0\0"));
        let answers: Vec<_> = b"1ZDCZ2C".iter().map(|kind| tracker.backend(&frame(*kind, b"I"))).collect();
        assert_eq!(answers, [0, 0, 1, 1, 1, 2, 2].map(Some));
    }

    #[test]
    fn a_sync_during_copy_ends_no_cycle() {
        let mut tracker = ready();
        tracker.frontend(&frame(b'E', b"\0\0\0\0\0"));
        tracker.frontend(&frame(b'S', b""));
        tracker.backend(&frame(b'G', b""));
        tracker.frontend(&frame(b'c', b""));
        tracker.frontend(&frame(b'S', b""));
        assert_eq!(tracker.backend(&frame(b'Z', b"I")), Some(0));
        assert_eq!(tracker.frontend(&frame(b'S', b"")).0, 1);
    }
}
