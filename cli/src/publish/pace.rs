//! Pacing: at most so many a second, without drift.

use std::time::{Duration, Instant};

/// Counts what was done, and waits until the next is due.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    done: u64,
    per_second: Option<f64>,
}

impl Pace {
    /// `None` never waits.
    pub fn new(per_second: Option<f64>) -> Self {
        Self { begun: Instant::now(), done: 0, per_second }
    }

    /// Waits until one more may be done. It does not wait for less than a few milliseconds, because timers are coarse.
    pub async fn one_more(&mut self) {
        if let Some(per_second) = self.per_second {
            let due = Duration::from_secs_f64(self.done as f64 / per_second);
            let early = due.saturating_sub(self.begun.elapsed());
            if early > Duration::from_millis(3) {
                tokio::time::sleep(early).await;
            }
        }
        self.done += 1;
    }
}
