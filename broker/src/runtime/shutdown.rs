//! The ordered end: each phase in turn, each bounded, all of them together bounded by `shutdown.grace_ms`.
//!
//! not ready → refuse new calls → go-away to sessions → drain lanes and commits → close connections → stop jobs → pools.
//! A second signal ends it at once: whoever presses Ctrl-C twice means it.

use std::{fmt, future::Future, pin::Pin, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// The tokens of an orderly end, fired in this order. Parts hold the one that concerns them.
#[derive(Clone, Debug, Default)]
pub struct Farewell {
    /// New calls are refused.
    pub refusing: CancellationToken,
    /// Sessions send a go-away and end.
    pub go_away: CancellationToken,
    /// Nobody is accepted any more; connections send GOAWAY and close when their calls have ended.
    pub closing: CancellationToken,
}

/// One step of the end.
pub struct Phase {
    name: &'static str,
    bound: Duration,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Phase {
    /// `work` is dropped when it takes longer than `bound`.
    pub fn new(name: &'static str, bound: Duration, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, bound, work: Box::pin(work) }
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Phases that were cut short, by name. Empty is an orderly end.
    pub cut_short: Vec<&'static str>,
    pub took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match self.cut_short.as_slice() {
            [] => write!(f, "stopped in order in {seconds:.1} s"),
            names => write!(f, "stopped after {seconds:.1} s; cut short: {}", names.join(", ")),
        }
    }
}

/// Runs the phases in order. Whatever happens, it returns within `grace`, and every phase has at least been begun, so that
/// tokens fire and connections close even when an earlier phase used up the time.
pub async fn in_order(phases: Vec<Phase>, grace: Duration) -> Outcome {
    let begun = Instant::now();
    let mut cut_short = Vec::new();
    for phase in phases {
        let bound = phase.bound.min(grace.saturating_sub(begun.elapsed()));
        tracing::debug!(phase = phase.name, ?bound, "shutting down");
        if timeout(bound, phase.work).await.is_err() {
            tracing::warn!(phase = phase.name, ?bound, "a phase of the shutdown was cut short");
            cut_short.push(phase.name);
        }
    }
    Outcome { cut_short, took: begun.elapsed() }
}

/// SIGINT and SIGTERM, heard from the moment this exists.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts listening; from now on neither signal kills the process by itself.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next signal, by name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Runs `end`, unless a further signal comes: then `None`, and the caller exits hard.
    pub async fn unless_repeated<T>(&mut self, end: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = end => Some(outcome),
            name = self.next() => {
                tracing::warn!(signal = name, "a second signal: stopping at once");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test(start_paused = true)]
    async fn phases_run_in_order_and_the_whole_is_bounded() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let phase = |name, bound_ms, takes_ms| {
            let seen = seen.clone();
            Phase::new(name, Duration::from_millis(bound_ms), async move {
                seen.lock().expect("lock").push(name);
                tokio::time::sleep(Duration::from_millis(takes_ms)).await;
            })
        };
        let phases = vec![
            phase("quick", 100, 10),
            phase("too long", 100, 5_000),
            phase("greedy", 9_000, 9_000),
            phase("last", 100, 1),
        ];
        let outcome = in_order(phases, Duration::from_millis(1_000)).await;
        assert_eq!(*seen.lock().expect("lock"), ["quick", "too long", "greedy", "last"]);
        assert_eq!(outcome.cut_short, ["too long", "greedy", "last"]);
        assert!(outcome.took <= Duration::from_millis(1_010), "{outcome}");
    }

    #[tokio::test]
    async fn without_any_grace_every_token_still_fires() {
        let farewell = Farewell::default();
        let tokens = [farewell.refusing.clone(), farewell.go_away.clone(), farewell.closing.clone()];
        let fire = |token: CancellationToken| Phase::new("token", Duration::MAX, async move { token.cancel() });
        in_order(tokens.map(fire).into(), Duration::ZERO).await;
        assert!(farewell.closing.is_cancelled() && farewell.refusing.is_cancelled());
    }
}
