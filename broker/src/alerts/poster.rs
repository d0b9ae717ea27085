//! Carries notifications to webhooks. Every broker does so; each notification is one broker's at a time.
//!
//! A broker that dies, or cannot say what came of an attempt, keeps its notification until the lease ends; then another one sends it
//! again, under the same id.

use super::Alerts;
use super::webhook::{Post, Posted, TIMEOUT};
use crate::domain::Result;
use crate::domain::alert::{DeliveryResult, is_tried_again, pause_ms, signature};
use crate::runtime::clock;
use crate::store::alerts::{self as stored, Delivery, Report};
use crate::telemetry::metrics;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Notifications on their way at once at one broker.
const AT_ONCE: usize = 64;
/// Of one organization, at all brokers together: webhooks that hang hold up nobody else's.
const EACH: i32 = 4;
/// Longer than any attempt takes, reporting included.
const LEASE: Duration = TIMEOUT.saturating_mul(3);
/// For notifications that are on their way when the broker stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The task.
pub struct Poster {
    pub alerts: Alerts,
}

impl Poster {
    /// Carries notifications until the broker stops.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut carried = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
                // The next one of the same alert may be due.
                Some(()) = carried.next() => {}
            }
            let room = AT_ONCE - carried.len();
            if room == 0 {
                continue;
            }
            match self.take(room).await {
                Ok(taken) => carried.extend(taken.into_iter().map(|delivery| self.carry(delivery))),
                Err(error) => tracing::debug!(?error, "could not look for notifications; trying again"),
            }
        }
        let rest = async { while carried.next().await.is_some() {} };
        // What is left is another broker's when its lease ends.
        let _ = tokio::time::timeout(FAREWELL, rest).await;
        Ok(())
    }

    async fn take(&self, room: usize) -> Result<Vec<Delivery>> {
        let db = self.alerts.store.conn().await?;
        stored::take(&**db, room as i32, EACH, LEASE.as_millis() as i64).await
    }

    async fn carry(&self, delivery: Delivery) {
        let posted = match self.post(&delivery).await {
            Ok(posted) => posted,
            // It waits until the lease ends.
            Err(error) => return tracing::warn!(?error, "a notification could not be signed"),
        };
        let attempts = delivery.attempt.unsigned_abs();
        let (result, counter) = match (posted.error.is_empty(), is_tried_again(attempts)) {
            (true, _) => (DeliveryResult::Delivered, &metrics::get().webhook_posts_delivered),
            (false, true) => (DeliveryResult::Retrying, &metrics::get().webhook_posts_failed),
            (false, false) => (DeliveryResult::GivenUp, &metrics::get().webhook_posts_given_up),
        };
        counter.increment(1);
        let delay_ms = pause_ms(attempts, rand::random());
        let report = Report { result, http_status: posted.http_status, error: &posted.error, delay_ms };
        let reported = async { stored::report(&**self.alerts.store.conn().await?, &delivery, &report).await };
        match reported.await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(id = %delivery.id, "the notification is gone, or another broker's"),
            Err(error) => tracing::debug!(?error, "what came of a notification could not be written; it is sent again"),
        }
    }

    async fn post(&self, delivery: &Delivery) -> Result<Posted> {
        let secrets = self.alerts.secrets.of_delivery(delivery).await?;
        let unix_s = clock::unix_us().div_euclid(1_000_000);
        let signature = signature(&secrets, unix_s, delivery.body.as_bytes())?;
        let post = Post { id: delivery.id, signature, body: &delivery.body };
        Ok(self.alerts.webhooks.post(&delivery.url, &post).await)
    }
}
