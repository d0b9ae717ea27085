//! Writing what is gathered: one write at a time, until it is known.

use crate::delivery::pool::by_key::UNPARK;
use crate::delivery::pool::gathered;
use crate::delivery::pool::task::{BACKOFF, Done, PoolTask, REST_MS, now_ms};
use crate::domain::ranges::Ranges;
use crate::domain::{Reason, Result};
use crate::store::Store;
use crate::store::dispatch;
use crate::store::outcomes::{self, Holder, Lost, Settlement};
use crate::telemetry::metrics;

/// The longest rest after a write of failures: what is acknowledged beside them waits for it as well.
const FAILING_REST_MAX_MS: u64 = 1_000;

/// What a write found to be held no more. One that was repeated does not tell whether that was written by the attempt whose answer
/// was lost, or whether somebody else has it.
pub(super) struct Written {
    lost: Lost,
    repeated: bool,
}

impl PoolTask {
    /// Writes what is gathered, one write at a time.
    pub(super) fn write(&mut self) {
        let now = now_ms();
        if self.writing || self.gathered.is_empty() || now < self.write_at_ms {
            return;
        }
        self.writing = true;
        let settlement;
        (settlement, self.asked) = self.gathered.take();
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            let written = write(&store, &holder, &settlement).await;
            Done::Wrote { settlement, written, began_ms: now }
        }));
    }

    pub(super) fn wrote(&mut self, settlement: &Settlement, written: &Written, began_ms: u64) {
        self.writing = false;
        let now = now_ms();
        self.write_at_ms = now + rest(settlement, now.saturating_sub(began_ms));
        let lost = gathered::lost(settlement, &written.lost);
        let done = settlement.done.iter().cloned();
        let done = done.map(|(key, done)| (key, done, lost.contains(&gathered::Which::Claim(key))));
        let asides = settlement.asides.iter().enumerate().map(|(place, aside)| {
            let moved = Ranges::of(aside.offset..aside.offset + 1);
            (aside.claim, moved, written.lost.asides.contains(&place))
        });
        for (key, done, is_lost) in done.chain(asides) {
            if is_lost {
                self.drop_claim(key);
            } else if let Some(lane) = self.lane_mut(key.partition) {
                lane.written(key, &done);
            }
        }
        let dead = settlement.failed.iter().filter(|failed| failed.delay_ms.is_none()).count();
        metrics::get().dead_letters.increment(dead as u64);
        let retries = settlement.failed.iter().filter(|failed| failed.claim.is_none()).map(|failed| failed.key);
        for key in retries.chain(settlement.acked.iter().copied()) {
            self.retries.remove(&key);
            if self.group.key_order && lost.contains(&gathered::Which::Retry(key)) {
                self.drop_retry(key);
            }
        }
        if !settlement.unparked.is_empty() {
            self.due.insert(now);
        }
        std::mem::take(&mut self.asked).into_iter().for_each(|waiting| waiting.answer(&lost, written.repeated));
    }
}

/// How long a pool rests after a write that took so long. Failures are dear: each is an event copied into a table of its own. So a
/// storm of them gets no more than a quarter of a connection's time, and whoever publishes meanwhile hardly notices.
fn rest(settlement: &Settlement, took_ms: u64) -> u64 {
    if settlement.failed.is_empty() { REST_MS } else { (took_ms * 3).clamp(REST_MS, FAILING_REST_MAX_MS) }
}

/// Writes until it is known: first what became of events, then what is moved aside, then what may go on.
async fn write(store: &Store, holder: &Holder, settlement: &Settlement) -> Written {
    let mut written = Written { lost: Lost::default(), repeated: false };
    let Settlement { done, failed, acked, asides, unparked } = settlement;
    if !(done.is_empty() && failed.is_empty() && acked.is_empty()) {
        let settle = || async { outcomes::settle(&store.conn().await?, holder, settlement).await };
        written.lost = until_known(settle, &mut written.repeated).await;
    }
    if !asides.is_empty() {
        let set_aside = || async { dispatch::set_aside(&store.conn().await?, holder, asides).await };
        written.lost.asides = until_known(set_aside, &mut written.repeated).await;
    }
    if !unparked.is_empty() {
        let unpark = || async { dispatch::unpark(&store.conn().await?, holder, unparked, UNPARK).await };
        until_known(unpark, &mut written.repeated).await;
    }
    written
}

async fn until_known<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F, repeated: &mut bool) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                *repeated |= error.reason() == Reason::OutcomeUnknown;
                tracing::warn!(?error, "outcomes could not be written; trying again");
            }
        }
        tokio::time::sleep(BACKOFF).await;
    }
}
