//! An absolute schedule that is kept to microseconds.
//!
//! Timers of async runtimes tick in milliseconds, which would be most of what is measured. So the paced side runs on a
//! thread of its own: it sleeps until shortly before the time, and spins for the rest.

use std::time::{Duration, Instant};

/// What a thread's sleep may overshoot by.
const SPIN: Duration = Duration::from_micros(80);

/// Event number `n` is due at `start + n / rate`, however late the ones before it were.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Instant,
    rate: u32,
}

impl Schedule {
    pub fn new(start: Instant, rate: u32) -> Self {
        Self { start, rate: rate.max(1) }
    }

    pub fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos(number * 1_000_000_000 / u64::from(self.rate))
    }

    /// Returns at the time when it is due; at once when that is past.
    pub fn wait(&self, number: u64) -> Instant {
        let due = self.due(number);
        if let Some(left) = due.checked_duration_since(Instant::now()).and_then(|left| left.checked_sub(SPIN)) {
            std::thread::sleep(left);
        }
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_absolute() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 3);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(3), start + Duration::from_secs(1));
        assert_eq!(schedule.due(3_000_000), start + Duration::from_secs(1_000_000));
    }
}
