//! What a consumer group shall be.

use std::{collections::BTreeMap, time::Duration};

use crate::groups::{DeliveryMode, OnFailure, OnTruncated, RetryPolicy};

/// What a new group shall be, or what shall change. What is not set is the broker's default, or stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupSpec {
    pub(crate) description: Option<String>,
    pub(crate) mode: Option<DeliveryMode>,
    pub(crate) key_order: bool,
    pub(crate) ack_timeout: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) on_truncated: Option<OnTruncated>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) filter: Option<String>,
}

impl GroupSpec {
    /// Only events that match are delivered, such as `type starts_with "order." and payload.total > 100`; empty: all. A change
    /// applies from where each partition is delivered at that moment.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// For people; at most 1,024 bytes.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// How members share the stream. Default: ordered. Only for a new group.
    #[must_use]
    pub fn mode(mut self, mode: DeliveryMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Keeps the order of keys in a shared group: one event of a key is with a member at a time, the next one comes when it is
    /// settled. Other keys flow. Only for a new group.
    #[must_use]
    pub fn key_order(mut self) -> Self {
        self.key_order = true;
        self
    }

    /// How long a member has for an event that it settles by itself, 1 s to 1 hour. Default 30 s.
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = Some(timeout);
        self
    }

    /// What becomes of events that fail.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// What an ordered group does when an event fails. Default: block.
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = Some(policy);
        self
    }

    /// What to do when events were removed unread. Default: continue.
    #[must_use]
    pub fn on_truncated(mut self, policy: OnTruncated) -> Self {
        self.on_truncated = Some(policy);
        self
    }

    /// How long a member may finish what it has before a partition moves, up to 5 minutes. Default 10 s.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// All labels; at most 32.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        self.labels = Some(labels.into_iter().collect());
        self
    }
}
