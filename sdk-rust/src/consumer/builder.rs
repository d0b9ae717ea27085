//! Options of a consumer.

use std::time::Duration;

use super::Consumer;
use crate::{
    client::Client,
    error::{Error, Result},
};

/// Builds a [`Consumer`]. From [`Client::consumer`].
#[must_use]
pub struct ConsumerBuilder {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) member_name: Option<String>,
    pub(super) window_events: u32,
    pub(super) window_bytes: u64,
    pub(super) commits: Commits,
}

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// The client, at this interval and whenever a quarter of the window is done.
    Auto(Duration),
    /// The application.
    Explicit,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            member_name: None,
            window_events: 100_000,
            window_bytes: 32 * 1024 * 1024,
            commits: Commits::Auto(Duration::from_secs(1)),
        }
    }

    /// Name of this member: letters, digits, `.`, `_`, `-`. Whoever uses a name last has it; the earlier consumer ends with
    /// `MEMBER_FENCED`. Default: made up.
    pub fn member_name(mut self, name: impl Into<String>) -> Self {
        self.member_name = Some(name.into());
        self
    }

    /// Events that may be delivered and not yet committed, at most 1,000,000. Default 100,000.
    pub fn window_events(mut self, events: u32) -> Self {
        self.window_events = events;
        self
    }

    /// The same in bytes of payload, at most 256 MiB. Default 32 MiB.
    pub fn window_bytes(mut self, bytes: u64) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// Commits what the application has moved past at this interval, and sooner when a quarter of the window is done. This
    /// is the default, with 1 s.
    pub fn auto_commit(mut self, interval: Duration) -> Self {
        self.commits = Commits::Auto(interval);
        self
    }

    /// Commits nothing by itself: see [`Consumer::commit`].
    pub fn explicit_commit(mut self) -> Self {
        self.commits = Commits::Explicit;
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `TOO_MANY_MEMBERS`, `INVALID_ARGUMENT`, or why no broker answers.
    pub async fn build(self) -> Result<Consumer> {
        Err(Error::closed("consumer"))
    }
}
