//! What a test wants to happen, and whether it has happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::within::within;

/// Which executions a rule is about: simple queries, and executions of prepared statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    subject: Subject,
    occurrence: Occurrence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Any,
    Sql(String),
    Statement(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occurrence {
    Nth(u64),
    Every,
}

impl Match {
    /// The first execution of any kind.
    pub fn any() -> Match {
        Match::first(Subject::Any)
    }

    /// The first execution whose SQL contains this, in any case.
    pub fn sql_contains(text: &str) -> Match {
        Match::first(Subject::Sql(text.to_ascii_lowercase()))
    }

    /// The first execution of the prepared statement with this name.
    pub fn statement(name: &str) -> Match {
        Match::first(Subject::Statement(name.to_owned()))
    }

    /// The n-th one instead, counted from 1 over all sessions since the rule was made.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Match {
        self.occurrence = Occurrence::Nth(n);
        self
    }

    /// Every one.
    #[must_use]
    pub fn every(mut self) -> Match {
        self.occurrence = Occurrence::Every;
        self
    }

    fn first(subject: Subject) -> Match {
        Match { subject, occurrence: Occurrence::Nth(1) }
    }

    fn is_about(&self, execution: &Execution) -> bool {
        match &self.subject {
            Subject::Any => true,
            Subject::Sql(text) => execution.sql.to_ascii_lowercase().contains(text),
            Subject::Statement(name) => execution.statement.as_ref() == Some(name),
        }
    }
}

/// One execution that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Execution {
    /// The statement's name; `None` for a simple query.
    pub(super) statement: Option<String>,
    pub(super) sql: String,
}

/// Where in the life of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The server has not seen it.
    BeforeForward,
    /// The server has it, but not the Sync that ends it: outside a transaction it runs and never commits. For a
    /// simple query, which has no Sync, the same as `BeforeForward`.
    BeforeSync,
    /// The server has all of it; whether it has run is unknown.
    AfterForward,
    /// The server has finished it (committed, outside a transaction); the client has not seen a byte of the
    /// answer. Clients that ask for answers by Flush, before Sync, would wait for ever here.
    BeforeReply,
    /// The client has the whole answer.
    AfterReply,
}

/// What to do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Only count.
    Pass,
    /// Close the session. What was forwarded still reaches the server.
    Cut,
    /// Reset the session towards both sides.
    Reset,
    /// Wait for [`Rule::release`]; the direction stands still meanwhile.
    Hold,
    /// Wait this long.
    Delay(Duration),
}

/// How a session ends by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Cut,
    Reset,
}

/// A rule that was set. It works on when this value is dropped.
#[derive(Debug, Clone)]
pub struct Rule {
    state: Arc<RuleState>,
}

impl Rule {
    /// Waits until the rule has fired.
    pub async fn fired(&self) {
        self.fired_times(1).await;
    }

    /// Waits until the rule has fired this often.
    pub async fn fired_times(&self, times: u64) {
        let mut fired = self.state.fired.subscribe();
        let what = format!("rule {:?} to fire", self.state.matching);
        // The sender lives in the state that we hold.
        let _ = within(&what, fired.wait_for(|fired| *fired >= times)).await;
    }

    /// How often the rule has fired.
    pub fn times(&self) -> u64 {
        *self.state.fired.borrow()
    }

    /// Lets what is held go on, and all that this rule would hold later.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Ends the rule, and releases what it holds.
    pub fn remove(&self) {
        self.state.removed.store(1, Ordering::Release);
        self.release();
    }
}

#[derive(Debug)]
pub(super) struct RuleState {
    matching: Match,
    pub(super) step: Step,
    action: Action,
    seen: AtomicU64,
    removed: AtomicU64,
    fired: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl RuleState {
    /// Does what the rule says, and tells the test first.
    pub(super) async fn act(&self) -> Result<(), Ending> {
        self.fired.send_modify(|fired| *fired += 1);
        match self.action {
            Action::Pass => Ok(()),
            Action::Cut => Err(Ending::Cut),
            Action::Reset => Err(Ending::Reset),
            Action::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Action::Hold => {
                let mut released = self.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                Ok(())
            }
        }
    }

    fn hits(&self, execution: &Execution) -> bool {
        if self.removed.load(Ordering::Acquire) != 0 || !self.matching.is_about(execution) {
            return false;
        }
        let number = self.seen.fetch_add(1, Ordering::AcqRel) + 1;
        match self.matching.occurrence {
            Occurrence::Every => true,
            Occurrence::Nth(n) => n == number,
        }
    }
}

/// All rules of a proxy.
#[derive(Debug, Default)]
pub(super) struct Rules {
    list: Mutex<Vec<Arc<RuleState>>>,
}

impl Rules {
    pub(super) fn add(&self, matching: Match, step: Step, action: Action) -> Rule {
        let state = Arc::new(RuleState {
            matching,
            step,
            action,
            seen: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            fired: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Arc::clone(&state));
        Rule { state }
    }

    /// The rules that this execution sets off, in the order in which they were made.
    pub(super) fn hit_by(&self, execution: &Execution) -> Vec<Arc<RuleState>> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = list.iter().filter(|rule| rule.hits(execution));
        hit.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(sql: &str) -> Execution {
        Execution { statement: Some("s1".into()), sql: sql.into() }
    }

    #[test]
    fn the_nth_execution_is_hit_once() {
        let rules = Rules::default();
        rules.add(Match::sql_contains("Append_v1").nth(2), Step::BeforeReply, Action::Cut);
        let mut hits = Vec::new();
        for sql in ["select append_v1()", "begin", "SELECT APPEND_V1()", "select append_v1()"] {
            hits.push(rules.hit_by(&execution(sql)).len());
        }
        assert_eq!(hits, [0, 0, 1, 0]);
    }

    #[test]
    fn a_removed_rule_hits_nothing() {
        let rules = Rules::default();
        let by_name = Match::statement("s1").every();
        let rule = rules.add(by_name, Step::BeforeForward, Action::Pass);
        assert_eq!(rules.hit_by(&execution("x")).len(), 1);
        rule.remove();
        assert_eq!(rules.hit_by(&execution("x")).len(), 0);
    }
}
