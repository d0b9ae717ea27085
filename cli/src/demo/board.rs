//! How far the demonstration is: counters that everybody raises, shown to whoever watches.

use std::{
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{count, note, person_watches};

/// Between looks at the counters, for a person and for a log.
const FRAME: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(1);

pub(super) struct Board {
    total: usize,
    begun: Instant,
    step: Mutex<String>,
    acknowledged: AtomicUsize,
    statistics: AtomicUsize,
    strong: AtomicUsize,
    handled: AtomicUsize,
    bar: ProgressBar,
}

/// A counter of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Acknowledged,
    Statistics,
    StrongQuakes,
    Handled,
}

impl Board {
    pub(super) fn new(total: usize) -> Self {
        let length = u64::try_from(total).unwrap_or(u64::MAX);
        let bar = if person_watches() {
            ProgressBar::new(length)
        } else {
            ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
        };
        let style = ProgressStyle::with_template("{bar:36} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            total,
            begun: Instant::now(),
            step: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
            statistics: AtomicUsize::new(0),
            strong: AtomicUsize::new(0),
            handled: AtomicUsize::new(0),
            bar,
        }
    }

    fn counter(&self, counter: Counter) -> &AtomicUsize {
        match counter {
            Counter::Acknowledged => &self.acknowledged,
            Counter::Statistics => &self.statistics,
            Counter::StrongQuakes => &self.strong,
            Counter::Handled => &self.handled,
        }
    }

    pub(super) fn set(&self, counter: Counter, value: usize) {
        self.counter(counter).store(value, Ordering::Relaxed);
    }

    fn get(&self, counter: Counter) -> usize {
        self.counter(counter).load(Ordering::Relaxed)
    }

    /// Something worth a line.
    pub(super) fn tell(&self, text: impl AsRef<str>) {
        let line = format!("  {:4.1} s  {}", self.begun.elapsed().as_secs_f64(), text.as_ref());
        self.bar.suspend(|| note(line));
    }

    /// What happens now; told, and named by the watchdog.
    pub(super) fn step(&self, text: &str) {
        text.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell(text);
    }

    /// Shows the counters as they rise. Never ends.
    pub(super) async fn show(&self) -> Infallible {
        let mut tick = tokio::time::interval(if person_watches() { FRAME } else { LINE });
        tick.tick().await;
        loop {
            tick.tick().await;
            if person_watches() {
                let published = self.get(Counter::Acknowledged);
                self.bar.set_position(u64::try_from(published).unwrap_or_default());
                self.bar.set_message(self.line());
            } else {
                self.tell(self.line());
            }
        }
    }

    fn line(&self) -> String {
        let shown = |counter| count(self.get(counter) as i128);
        format!(
            "published {}  statistics {}  strong-quakes {}  locators {}",
            shown(Counter::Acknowledged),
            shown(Counter::Statistics),
            shown(Counter::StrongQuakes),
            shown(Counter::Handled),
        )
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// What has not come, for whoever waited in vain.
    pub(super) fn missing(&self) -> Vec<String> {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counters = [
            ("receipts", Counter::Acknowledged),
            ("events at `statistics`", Counter::Statistics),
            ("events at `strong-quakes`", Counter::StrongQuakes),
            ("events handled by `locators`", Counter::Handled),
        ];
        let mut lines = vec![format!("last step: {step}")];
        for (name, counter) in counters {
            let missing = self.total.saturating_sub(self.get(counter));
            if missing > 0 {
                lines.push(format!("{name}: {} of {} are missing", count(missing as i128), count(self.total as i128)));
            }
        }
        lines
    }
}
