//! Options of a worker.

use std::sync::Arc;

use eventflow_proto::v1;

use super::{Worker, queues::Queues, serve::Membership, shared::Shared};
use crate::{
    client::Client,
    consumer::builder::{client_string, first_session},
    error::Result,
};

/// Builds a [`Worker`]. From [`Client::worker`].
#[must_use]
pub struct WorkerBuilder {
    client: Client,
    group: String,
    member_name: Option<String>,
    window_events: u32,
    window_bytes: u64,
}

impl WorkerBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self { client, group, member_name: None, window_events: 20_000, window_bytes: 32 * 1024 * 1024 }
    }

    /// Name of this member: letters, digits, `.`, `_`, `-`. Whoever uses a name last has it; the earlier worker ends with
    /// `MEMBER_FENCED`. Default: made up.
    pub fn member_name(mut self, name: impl Into<String>) -> Self {
        self.member_name = Some(name.into());
        self
    }

    /// Events that the worker may hold at a time, at most 1,000,000. Default 20,000. The broker gives a worker that takes long
    /// fewer than this, so that others can take them.
    pub fn window_events(mut self, events: u32) -> Self {
        self.window_events = events;
        self
    }

    /// The same in bytes of payload, at most 256 MiB. Default 32 MiB.
    pub fn window_bytes(mut self, bytes: u64) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `TOO_MANY_MEMBERS`, `INVALID_ARGUMENT`, or why no broker answers.
    pub async fn build(self) -> Result<Worker> {
        let is_named = self.member_name.is_some();
        let request = v1::SubscribeRequest {
            group: self.group,
            // A name even when nobody chose one, to come back under.
            member_name: self.member_name.unwrap_or_else(|| format!("rust-{}", uuid::Uuid::new_v4().simple())),
            window_events: self.window_events,
            window_bytes: self.window_bytes,
            client: client_string(&self.client.connections().options().application),
            payload_view: v1::PayloadView::Bytes as i32,
            redeliveries: true,
        };
        let session = first_session(&self.client, &request).await?;
        let tasks = self.client.tasks().clone();
        let stop = tasks.stop.child_token();
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            stop: stop.clone(),
            member_name: session.member_name.clone(),
            stream: Arc::clone(&session.stream),
            is_shared: session.shared,
        };
        let membership = Membership {
            client: self.client,
            request,
            is_named,
            shared,
            stop,
            generation: 1,
            queues: Queues::default(),
        };
        tasks.tracker.spawn(membership.run(session));
        Ok(worker)
    }
}
