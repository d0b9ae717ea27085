//! Options of a producer.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use eventflow_proto::{
    limits::{EVENT_BYTES_MAX, PARTITIONS_MAX, PRODUCER_IN_FLIGHT_MAX, REQUEST_EVENTS_MAX},
    v1,
};
use tokio::sync::{Notify, Semaphore};

use super::{
    Handle, Producer, Shared,
    intake::{Intake, Routing, Sizes},
    sender::Sender,
    source::Source,
};
use crate::{
    client::Client,
    connection::Transport,
    error::{Error, ErrorKind, Result},
};

/// Builds a [`Producer`]. From [`Client::producer`].
#[must_use]
pub struct ProducerBuilder {
    pub(super) client: Client,
    pub(super) stream: String,
    pub(super) memory_bytes: usize,
    pub(super) batch_events: usize,
    pub(super) batch_bytes: usize,
    pub(super) in_flight_per_partition: usize,
    pub(super) delivery_timeout: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client, stream: String) -> Self {
        Self {
            client,
            stream,
            memory_bytes: 32 * 1024 * 1024,
            batch_events: 2_000,
            batch_bytes: 1024 * 1024,
            in_flight_per_partition: 4,
            delivery_timeout: Duration::from_secs(120),
        }
    }

    /// Bytes of events that may be on their way; more make `send` wait. Default 32 MiB, at least 6 MiB.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Events of one batch at most, 1 to 10,000. Default 2,000.
    pub fn batch_events(mut self, events: usize) -> Self {
        self.batch_events = events;
        self
    }

    /// Bytes of one batch at most, up to 3 MiB; a larger event travels alone. Default 1 MiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Batches of one partition on their way at most, 1 to 64. Default 4.
    pub fn in_flight_per_partition(mut self, batches: usize) -> Self {
        self.in_flight_per_partition = batches;
        self
    }

    /// How long an event may be retried before its receipt fails. Default 2 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Looks the stream up and starts the producer. Where brokers make missing streams on first publish (`eventflow dev`),
    /// this makes it.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_OPTIONS`, or why no broker answers.
    pub async fn build(self) -> Result<Producer> {
        self.check()?;
        let (routing, first_partition) = match routing(&self.client, &self.stream).await {
            // A stream that is only now made begins at its first partition.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                knock(&self.client, &self.stream).await.map_err(|_| error)?;
                (routing(&self.client, &self.stream).await?, 0)
            }
            routing => {
                let routing = routing?;
                (routing, rand::random_range(0..routing.partitions.max(1)))
            }
        };
        let sizes = Sizes {
            batch_events: self.batch_events,
            batch_bytes: self.batch_bytes,
            delivery_timeout: self.delivery_timeout,
        };
        let hub = self.client.hub(&self.stream);
        let shared = Arc::new(Shared {
            stream: self.stream.into(),
            sizes,
            max_event_bytes: routing.max_event_bytes,
            intake: Mutex::new(Intake::new(routing, sizes, first_partition)),
            memory: Semaphore::new(self.memory_bytes),
            id: hub.next_id(),
            hub: Arc::clone(&hub),
            is_told: AtomicBool::new(false),
            settled: Notify::new(),
        });
        let tasks = self.client.tasks().clone();
        let stop = tasks.stop.child_token();
        if hub.join(Source::new(Arc::clone(&shared), stop.clone(), self.in_flight_per_partition)) {
            tasks.tracker.spawn(Sender::new(self.client, hub).run());
        }
        Ok(Producer(Arc::new(Handle { shared, stop })))
    }

    fn check(&self) -> Result<()> {
        let limits: [(&str, usize, usize, usize); 4] = [
            ("memory_bytes", self.memory_bytes, 2 * EVENT_BYTES_MAX, 16 * 1024 * 1024 * 1024),
            ("batch_events", self.batch_events, 1, REQUEST_EVENTS_MAX),
            ("batch_bytes", self.batch_bytes, 1, EVENT_BYTES_MAX),
            ("in_flight_per_partition", self.in_flight_per_partition, 1, PRODUCER_IN_FLIGHT_MAX),
        ];
        for (name, value, min, max) in limits {
            if !(min..=max).contains(&value) {
                return Err(Error::invalid_options(format!("`{name}` is {value}; it must be from {min} to {max}")));
            }
        }
        Ok(())
    }
}

/// How the stream is partitioned now.
pub(super) async fn routing(client: &Client, stream: &str) -> Result<Routing> {
    let stream = client.streams().get(stream).await?;
    if stream.partitions == 0 || stream.partitions > PARTITIONS_MAX {
        return Err(Error::protocol(format!("stream `{}` has {} partitions", stream.name, stream.partitions)));
    }
    Ok(Routing {
        partitions: stream.partitions,
        version: stream.routing_version,
        max_event_bytes: stream.max_event_bytes as usize,
        track_keys: stream.track_keys,
    })
}

/// Publishes nothing to a stream that may not exist: a broker that makes streams on first publish makes it.
async fn knock(client: &Client, stream: &str) -> Result<()> {
    let request = v1::PublishRequest {
        stream: stream.to_owned(),
        events: vec![v1::Event::default()],
        validate_only: true,
        ..v1::PublishRequest::default()
    };
    let call = |broker: Transport| {
        let request = request.clone();
        async move { broker.publish(request).await }
    };
    client.unary(call).await.map(drop)
}
