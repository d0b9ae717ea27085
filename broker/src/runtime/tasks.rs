//! The only place that starts tasks. Each has a kind, and the kind says what its end means.
//!
//! **Invariant:** a task outlives neither [`Tasks::stop`] followed by its own farewell, nor [`Tasks::kill`]. A panic never
//! passes silently: it is logged (by the panic hook too), counted, and, for a critical kind, stops the broker.

use crate::{
    domain::{Error, Result},
    telemetry::metrics,
};
use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Accepts gRPC connections.
    Accept,
    /// Accepts connections of the probe port.
    Http,
    /// One connection of either port.
    Connection,
    /// One call, started by HTTP/2.
    Call,
    /// Appends through one database connection.
    Lane,
    /// Renews this broker's lease, and stops delivery when it cannot.
    Lease,
    /// Looks for events that others appended, and for hints.
    Wake,
    /// One subscriber.
    Session,
    /// Writes progress.
    Commits,
    /// Something that happens without being asked.
    Job,
    /// Drives a database connection.
    Database,
    /// Watches Postgres' health and settings.
    Watch,
}

/// What the end of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// It lives as long as the broker: when it ends early, the broker stops.
    Critical,
    /// It may end; a failure is logged.
    Ordinary,
    /// It may end, and whoever it served knows why: a failure is only traced.
    Quiet,
}

impl Kind {
    fn policy(self) -> Policy {
        match self {
            Self::Accept | Self::Http | Self::Lane | Self::Lease | Self::Wake | Self::Commits => Policy::Critical,
            Self::Session | Self::Job | Self::Database | Self::Watch => Policy::Ordinary,
            Self::Connection | Self::Call => Policy::Quiet,
        }
    }
}

/// Starts tasks and ends them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    leaving: CancellationToken,
    stop: CancellationToken,
    kill: CancellationToken,
    failure: watch::Sender<Option<String>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            failure: watch::Sender::new(None),
        }
    }

    /// Starts a task. It should end soon after [`stopping`](Self::stopping) fires, and is dropped at [`kill`](Self::kill).
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, kind: Kind, task: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<()> {
        let tasks = self.clone();
        tokio::spawn(self.tracker.track_future(async move {
            let guarded = AssertUnwindSafe(task).catch_unwind();
            tokio::select! {
                biased;
                end = guarded => tasks.ended(kind, end.unwrap_or_else(|_| Err(Error::internal("the task panicked")))),
                () = tasks.kill.cancelled() => {}
            }
        }))
    }

    /// Starts a task that cannot fail and guards itself: one call of HTTP/2. Nothing is wrapped around it, because this
    /// happens for every call; it ends with its connection.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_call(&self, task: impl Future<Output: Send + 'static> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Fires when tasks should end on their own.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// From now on critical tasks may end one by one: the broker is being taken down in order.
    pub fn expect_ends(&self) {
        self.leaving.cancel();
    }

    /// Asks all tasks to end.
    pub fn stop(&self) {
        self.leaving.cancel();
        self.stop.cancel();
    }

    /// Drops every task at its next await.
    pub fn kill(&self) {
        self.stop();
        self.kill.cancel();
    }

    /// Waits for all tasks to end. Ask them to before.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until a critical task has ended early, and says which and why. The broker should then stop.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            // The sender lives in `self`.
            Err(_) => std::future::pending().await,
        }
    }

    fn ended(&self, kind: Kind, end: Result<()>) {
        if let Err(error) = &end {
            metrics::get().task_failures.increment(1);
            match kind.policy() {
                Policy::Quiet => tracing::debug!(?kind, ?error, "a task failed"),
                Policy::Ordinary => tracing::warn!(?kind, ?error, "a task failed"),
                Policy::Critical => tracing::error!(?kind, ?error, "a task failed that the broker cannot do without"),
            }
        }
        if kind.policy() == Policy::Critical && !self.leaving.is_cancelled() {
            let why = end.err().map_or_else(|| "it ended early".to_owned(), |error| format!("{error:?}"));
            self.failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert(format!("{kind:?}: {why}"));
                first
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_critical_task_that_panics_stops_the_broker_and_the_process_survives() {
        let tasks = Tasks::new();
        tasks.spawn(Kind::Lane, async { panic!("a bug, on purpose") });
        assert!(tasks.failed().await.starts_with("Lane: "));
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_early_stops_the_broker() {
        let tasks = Tasks::new();
        tasks.spawn(Kind::Wake, async { Ok(()) });
        assert_eq!(tasks.failed().await, "Wake: it ended early");
    }

    #[tokio::test]
    async fn an_ordinary_failure_and_an_orderly_end_stop_nothing() {
        let tasks = Tasks::new();
        tasks.spawn(Kind::Session, async { Err(Error::internal("a bug, on purpose")) });
        let stopping = tasks.stopping();
        tasks.spawn(Kind::Lane, async move {
            stopping.cancelled().await;
            Ok(())
        });
        tasks.stop();
        tasks.wait().await;
        assert!(tasks.failed().now_or_never().is_none());
        assert_eq!(tasks.running(), 0);
    }

    #[tokio::test]
    async fn a_task_that_will_not_stop_is_dropped() {
        let tasks = Tasks::new();
        tasks.spawn(Kind::Job, std::future::pending());
        tasks.stop();
        assert!(tasks.wait().now_or_never().is_none());
        tasks.kill();
        tasks.wait().await;
    }
}
