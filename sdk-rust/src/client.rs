//! The client: a handle on one organization's streams and groups.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alerts::Alerts,
    api_keys::ApiKeys,
    audit::Audit,
    auth::Auth,
    connection::Connections,
    consumer::ConsumerBuilder,
    dead_letters::DeadLetters,
    error::Result,
    event::Event,
    groups::Groups,
    limits::Limits,
    options::ClientOptions,
    organization::OwnOrganization,
    position::Appended,
    producer::{Hub, ProducerBuilder},
    read::ReadBuilder,
    rules::Rules,
    schemas::Schemas,
    streams::Streams,
    users::Users,
    worker::WorkerBuilder,
};

/// A client of EventFlow. Cheap to clone; all clones share one connection.
///
/// Dropping the last clone ends nothing that is still in use: producers and consumers keep what they need.
/// [`Client::close`] ends them.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    connections: Connections,
    tasks: Tasks,
    /// Where the producers of a stream meet, by its name.
    hubs: Mutex<HashMap<String, Weak<Hub>>>,
}

/// The background tasks of a client: one for each consumer, and for the producers of each stream. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Client {
    /// Connects to a broker, such as `eventflow://localhost:50051`. The API key comes from `EVENTFLOW_API_KEY`.
    ///
    /// Every host is tried once. Later, the client reconnects by itself.
    ///
    /// # Errors
    /// `INVALID_OPTIONS` for a malformed string, otherwise why no host could be reached: see
    /// [`reason`](crate::error::reason).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(ClientOptions::new(url)?.api_key_from_env()?).await
    }

    /// Connects with options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(options: ClientOptions) -> Result<Self> {
        let client = Self::lazy(options);
        client.connections().get().await?;
        Ok(client)
    }

    /// A client that connects when it is first used.
    pub fn lazy(options: ClientOptions) -> Self {
        Self(Arc::new(Shared {
            connections: Connections::new(options),
            tasks: Tasks::default(),
            hubs: Mutex::default(),
        }))
    }

    /// Administration of streams.
    pub fn streams(&self) -> Streams {
        Streams::new(self.clone())
    }

    /// Administration of consumer groups.
    pub fn groups(&self) -> Groups {
        Groups::new(self.clone())
    }

    /// Administration of API keys.
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.clone())
    }

    /// The audit log.
    pub fn audit(&self) -> Audit {
        Audit::new(self.clone())
    }

    /// Signing in and out.
    pub fn auth(&self) -> Auth {
        Auth::new(self.clone())
    }

    /// The organization of the credential.
    pub fn organization(&self) -> OwnOrganization {
        OwnOrganization::new(self.clone())
    }

    /// Administration of users.
    pub fn users(&self) -> Users {
        Users::new(self.clone())
    }

    /// Processing rules of streams.
    pub fn rules(&self) -> Rules {
        Rules::new(self.clone())
    }

    /// Alerts of consumer groups.
    pub fn alerts(&self) -> Alerts {
        Alerts::new(self.clone())
    }

    /// Schemas of streams.
    pub fn schemas(&self) -> Schemas {
        Schemas::new(self.clone())
    }

    /// The limits of the broker.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn limits(&self) -> Result<Limits> {
        crate::limits::get(self).await
    }

    /// Reads a stream without a group and without progress.
    pub fn read(&self, stream: impl Into<String>) -> ReadBuilder {
        ReadBuilder::new(self.clone(), stream.into())
    }

    /// Publishes to a stream.
    pub fn producer(&self, stream: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), stream.into())
    }

    /// Publishes events to a partition if that still ends at `expected_next_offset`, all of them or none: for writers who must know
    /// that nothing was appended since they looked. A producer is faster where that does not matter.
    ///
    /// # Errors
    /// `EXPECTATION_FAILED` when something was appended since, with `next_offset` in the metadata; otherwise what publishing gives.
    pub async fn publish_expecting(
        &self,
        stream: &str,
        partition: u32,
        expected_next_offset: i64,
        events: Vec<Event>,
    ) -> Result<Vec<Appended>> {
        crate::producer::publish_expecting(self, stream, partition, expected_next_offset, events).await
    }

    /// Publishes events of a key if the last event of that key stands at `last_offset` (`None`: if it has no event yet), all of them or
    /// none: for writers whose events say what became of one thing. They all get the key. The stream must have been made with
    /// [`StreamSpec::track_keys`](crate::StreamSpec::track_keys).
    ///
    /// # Errors
    /// `EXPECTATION_FAILED` when the key got an event since, with `last_offset` in the metadata unless it has none;
    /// `KEYS_NOT_TRACKED`; otherwise what publishing gives.
    pub async fn publish_expecting_last(
        &self,
        stream: &str,
        key: &str,
        last_offset: Option<i64>,
        events: Vec<Event>,
    ) -> Result<Vec<Appended>> {
        crate::producer::publish_expecting_last(self, stream, key, last_offset, events).await
    }

    /// Joins a consumer group.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), group.into())
    }

    /// The events that a group gave up on.
    pub fn dead_letters(&self, group: impl Into<String>) -> DeadLetters {
        DeadLetters::new(self.clone(), group.into())
    }

    /// Joins a group whose members settle events one by one: a shared group, or an ordered one whose events may fail.
    pub fn worker(&self, group: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), group.into())
    }

    /// Ends all producers and consumers of this client at once and waits until their tasks are gone. Close them one by one
    /// before, to drain them.
    pub async fn close(&self) {
        self.0.tasks.stop.cancel();
        self.0.tasks.tracker.close();
        self.0.tasks.tracker.wait().await;
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Where the producers of a stream meet.
    pub(crate) fn hub(&self, stream: &str) -> Arc<Hub> {
        let mut hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(stream).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let hub = Arc::new(Hub::default());
        hubs.insert(stream.to_owned(), Arc::downgrade(&hub));
        hub
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", self.connections().options()).finish_non_exhaustive()
    }
}
