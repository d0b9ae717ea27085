//! Options of a consumer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use eventflow_proto::{limits::CLIENT_BYTES_MAX, v1};
use tokio::sync::{broadcast, mpsc};

use super::{
    Consumer, Notices,
    buffer::Buffer,
    ledger::Ledger,
    member::{COMMANDS_MAX, MemberTask, Waiters},
    notice::NOTICES_MAX,
    session::{Session, join},
};
use crate::{
    call::{ATTEMPTS_MAX, is_transient},
    client::Client,
    connection::backoff,
    error::{Error, ErrorKind, Result, reason},
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
    /// `CONSUMER_GROUP_NOT_FOUND`, `TOO_MANY_MEMBERS`, `INVALID_ARGUMENT`, `DELIVERY_MODE_MISMATCH` (a shared group), or why
    /// no broker answers.
    pub async fn build(self) -> Result<Consumer> {
        let is_named = self.member_name.is_some();
        let request = v1::SubscribeRequest {
            group: self.group,
            // A name even when nobody chose one, to come back under.
            member_name: self.member_name.unwrap_or_else(|| format!("rust-{}", uuid::Uuid::new_v4().simple())),
            window_events: self.window_events,
            window_bytes: self.window_bytes,
            client: client_string(&self.client.connections().options().application),
            payload_view: v1::PayloadView::Bytes as i32,
            redeliveries: false,
        };
        let session = first_session(&self.client, &request).await?;
        if session.shared {
            session.depart().await;
            return Err(not_a_consumers());
        }
        let buffer = Arc::new(Buffer::new(self.window_events, self.window_bytes));
        let (notices, first_notices) = broadcast::channel(NOTICES_MAX);
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let tasks = self.client.tasks().clone();
        let stop = tasks.stop.child_token();
        let auto_commit = match self.commits {
            Commits::Auto(interval) => Some(interval),
            Commits::Explicit => None,
        };
        let consumer = Consumer {
            buffer: Arc::clone(&buffer),
            commands,
            notices: Mutex::new((Some(Notices(first_notices)), notices.subscribe())),
            stop: stop.clone(),
            member_name: session.member_name.clone(),
            stream: Arc::clone(&session.stream),
            is_auto: auto_commit.is_some(),
            current: None,
        };
        let task = MemberTask {
            client: self.client,
            request,
            is_named,
            auto_commit,
            buffer,
            notices,
            commands: commanded,
            early: VecDeque::new(),
            stop,
            ledger: Ledger::default(),
            waiters: Waiters::default(),
            away_since: None,
        };
        tasks.tracker.spawn(task.run(session));
        Ok(consumer)
    }
}

fn not_a_consumers() -> Error {
    let message = "the group is shared: its members settle events one by one, so join it with `Client::worker`";
    Error::new(ErrorKind::FailedPrecondition, reason::DELIVERY_MODE_MISMATCH, message)
}

/// The first membership, so that what is wrong is told at once.
pub(crate) async fn first_session(client: &Client, request: &v1::SubscribeRequest) -> Result<Session> {
    let mut attempt = 1;
    loop {
        match join(client, request.clone()).await {
            Err(error) if is_transient(&error) && attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(backoff(attempt)).await;
                attempt += 1;
            }
            joined => return joined,
        }
    }
}

/// Library and application, within the limit and without what a terminal would not print.
pub(crate) fn client_string(application: &str) -> String {
    let mut text = crate::USER_AGENT.to_owned();
    let application: String = application.chars().filter(|letter| !letter.is_control()).take(64).collect();
    if !application.is_empty() {
        text = format!("{application} {text}");
    }
    while text.len() > CLIENT_BYTES_MAX {
        text.pop();
    }
    text
}
