//! Publishing: authorize → validate → route → admit → lane.
//!
//! Promises: an acknowledgement follows the flushed commit; the events of a request for one partition are appended whole or not
//! at all; a refusal says that nothing was applied. Never done here: delivering, or knowing about gRPC.

pub mod chain;
pub mod flush;
pub mod gate;
pub mod lane;
pub mod line;
pub mod plan;
pub mod queue;
mod recall;
mod reroute;
pub mod settle;
mod split;
pub mod terms;
mod validate;

use crate::catalogue::Catalogue;
use crate::domain::error::Violation;
use crate::domain::event::{Encoder, Event};
use crate::domain::ids::{OrganizationId, PartitionId, StreamName};
use crate::domain::stream::Stream;
use crate::domain::{Applied, Error, Reason, Result};
use crate::identity::{Granted, Publish};
use crate::limits::{Limits, Who};
use crate::publish::chain::Chain;
use crate::publish::gate::DurabilityGate;
use crate::publish::lane::{Appended, LaneHandle, Reply, RoutedBy, Submission};
use crate::publish::plan::{Producer, Work};
use crate::publish::split::{Part, split};
use crate::publish::terms::{Expected, Terms};
use crate::publish::validate::{Judged, judge};
use crate::schemas::Schemas;
use crate::telemetry::metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Memory is admitted in units of this many bytes.
const UNIT: usize = 1_024;
/// How long a request waits for memory before it is refused.
const ADMISSION_WAIT: Duration = Duration::from_secs(5);
const BACKLOG_RETRY: Duration = Duration::from_millis(250);

/// A request to append events to one stream. Events are canonical already; their sizes are checked here, against the stream.
#[derive(Debug)]
pub struct Request {
    pub stream: StreamName,
    pub events: Vec<Event>,
    pub partition: Option<u32>,
    pub producer: Option<Producer>,
    /// Whose credential the request came with, as events keep it.
    pub publisher: Arc<str>,
    pub routing_version: i64,
    pub validate_only: bool,
    pub after_refusal: bool,
    /// What must hold; where the partition must end only with `partition`.
    pub expected: Expected,
}

/// A request on its way; [`Publisher::settle`] waits for what becomes of it.
#[derive(Debug)]
pub struct Queued {
    /// To find the stream again, should it have changed.
    granted: Granted<Publish>,
    stream: Arc<Stream>,
    publisher: Arc<str>,
    after_refusal: bool,
    parts: Vec<Pending>,
    /// Its place in the order of its publish stream.
    _unsettled: Option<TaskTrackerToken>,
}

/// The part of a request for one partition, on its way.
#[derive(Debug)]
struct Pending {
    partition: u32,
    /// Indexes into the request's events; None is all of them.
    events: Option<Vec<u32>>,
    /// What schemas say against it, when they only warn.
    warnings: Vec<Violation>,
    /// None: only validation was asked for.
    reply: Option<oneshot::Receiver<Reply>>,
}

/// What became of the part of a request for one partition.
#[derive(Debug)]
pub struct PartitionOutcome {
    pub partition: u32,
    /// Indexes into the request's events; None is all of them.
    pub events: Option<Vec<u32>>,
    /// What schemas say against it, when they only warn.
    pub warnings: Vec<Violation>,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Validated,
    Appended(Appended),
    Refused(Error),
}

/// Appends events for callers. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    catalogue: Catalogue,
    schemas: Schemas,
    lanes: Arc<[LaneHandle]>,
    room: Arc<Semaphore>,
    room_units: u32,
    durability: DurabilityGate,
    limits: Limits,
    create_missing_streams: bool,
    /// Where the next request without keys goes.
    keyless: Arc<AtomicU32>,
}

impl Publisher {
    /// `in_flight_bytes` bounds what is admitted and not yet appended.
    pub fn new(
        catalogue: Catalogue,
        schemas: Schemas,
        lanes: Vec<LaneHandle>,
        in_flight_bytes: usize,
        durability: DurabilityGate,
        limits: Limits,
        create_missing_streams: bool,
    ) -> Self {
        let room_units = (in_flight_bytes / UNIT).max(1) as u32;
        let room = Arc::new(Semaphore::new(room_units as usize));
        Self {
            catalogue,
            schemas,
            lanes: lanes.into(),
            room,
            room_units,
            durability,
            limits,
            create_missing_streams,
            keyless: Arc::default(),
        }
    }

    /// Queues a request. Calls of one task keep their order per partition. With a chain, a refusal takes its place in the order
    /// of the publish stream.
    pub async fn publish(&self, granted: &Granted<Publish>, request: Request, chain: Option<&Chain>) -> Result<Queued> {
        let stream = self.stream(granted, &request.stream).await?;
        if let Err(error) = self.admitted(stream.organization, &request, chain.is_some()).await {
            let order = Order { producer: request.producer, after_refusal: request.after_refusal, chain };
            self.refuse_in_order(&stream, &meant(&stream, request.partition), &error, order).await;
            return Err(error);
        }
        let _unsettled = match chain {
            Some(chain) if request.partition.is_none() => Some(chain.enter(stream.id, stream.routing_version).await),
            _ => None,
        };
        let order = Order { producer: request.producer, after_refusal: request.after_refusal, chain };
        let publisher = request.publisher.clone();
        let parts = self.route(&stream, request, order, None).await?;
        let granted = granted.clone();
        Ok(Queued { granted, after_refusal: order.after_refusal, stream, publisher, parts, _unsettled })
    }

    /// Splits a request by partition, validates the parts and hands them to their lanes. `among` are the indexes of its events
    /// within the request that the client knows; None: they are the same.
    async fn route(
        &self,
        stream: &Stream,
        request: Request,
        order: Order<'_>,
        among: Option<&[u32]>,
    ) -> Result<Vec<Pending>> {
        let keyless = self.keyless.fetch_add(1, Ordering::Relaxed) % stream.partition_count();
        // What is expected of keys is expected of this stream: of one that was made anew under its name nobody knows anything.
        let fixed = request.partition.is_some() || !request.expected.is_empty();
        let routed_by = if fixed { RoutedBy::Client } else { RoutedBy::Broker };
        let (validate_only, routing_version) = (request.validate_only, routing_version(stream, &request));
        let publisher = request.publisher.clone();
        let parts = match split(stream, request, keyless) {
            Ok(parts) => parts,
            Err(refused) => {
                self.refuse_in_order(stream, &refused.partitions, &refused.error, order).await;
                return Err(refused.error);
            }
        };
        let schemas = match self.schemas.to_ask(stream).await {
            Ok(schemas) => schemas,
            Err(error) => {
                let touched: Vec<PartitionId> = parts.iter().map(|part| part.partition).collect();
                self.refuse_in_order(stream, &touched, &error, order).await;
                return Err(error.applied(Applied::No));
            }
        };
        let mut pending = Vec::with_capacity(parts.len());
        for part in parts {
            let Judged { refusal, warnings } = match &schemas {
                Some(schemas) => judge(schemas, stream.schema_policy.enforcement, &part, among).await,
                None => Judged::default(),
            };
            let Part { index, partition, events, picked, expected } = part;
            let (terms, reused) = match Terms::of(&events, expected, || indexes(picked.as_deref(), among)) {
                Ok(terms) => (terms, None),
                Err(reused) => (None, Some(reused)),
            };
            let refusal = refusal.or(reused);
            let reply = if validate_only && refusal.is_none() {
                None
            } else {
                let work = Work { terms, ..work(stream, partition, &publisher, events, routing_version, order) };
                Some(self.submit(work, routed_by, order.chain, refusal).await)
            };
            pending.push(Pending { partition: index, events: picked, warnings, reply });
        }
        Ok(pending)
    }

    /// A request of a publish stream was refused before it could become one: what follows it must not overtake it.
    pub async fn refuse(
        &self,
        granted: &Granted<Publish>,
        stream: &str,
        partition: Option<u32>,
        producer: Option<Producer>,
        error: &Error,
        chain: &Chain,
    ) {
        let Ok(name) = StreamName::parse("stream", stream) else { return };
        // No stream, no order to keep.
        let Ok(stream) = self.catalogue.stream(granted, &name).await else { return };
        let order = Order { producer, after_refusal: false, chain: Some(chain) };
        self.refuse_in_order(&stream, &meant(&stream, partition), error, order).await;
    }

    /// Whether anything may be appended now, and by whom this much.
    async fn admitted(&self, organization: OrganizationId, request: &Request, on_stream: bool) -> Result<()> {
        self.durability.check()?;
        if self.limits.rules().are_empty() {
            return Ok(());
        }
        let who = Who { organization, credential: request.publisher.clone() };
        let (events, bytes) =
            (request.events.len() as u64, request.events.iter().map(Event::size).sum::<usize>() as u64);
        match (request.validate_only, on_stream) {
            (true, _) => Ok(()),
            (false, true) => self.limits.publish_shaped(&who, events, bytes).await,
            (false, false) => self.limits.publish(&who, events, bytes),
        }
    }

    /// The stream of that name, made when publishes make what is missing.
    pub async fn stream(&self, granted: &Granted<Publish>, name: &StreamName) -> Result<Arc<Stream>> {
        match self.catalogue.stream(granted, name).await {
            Err(error) if error.reason() == Reason::StreamNotFound && self.create_missing_streams => {
                self.catalogue.create_missing(granted, name).await
            }
            found => found,
        }
    }

    /// Forgets what is remembered of a stream: an append has found it out of date.
    pub fn forget(&self, stream: &Stream) {
        self.catalogue.invalidate(stream.organization, &stream.name);
    }

    /// Sends markers that take the place of a refused request in the order of each partition.
    async fn refuse_in_order(&self, stream: &Stream, partitions: &[PartitionId], error: &Error, order: Order<'_>) {
        let Some(chain) = order.chain else { return };
        for partition in partitions {
            let marker = Submission {
                work: work(stream, *partition, &Arc::from(""), Vec::new(), 0, order),
                reply: oneshot::channel().0,
                routed_by: RoutedBy::Client,
                permit: None,
                chain: Some(chain.clone()),
                refusal: Some(error.clone()),
            };
            self.lane(*partition).submit(marker).await;
        }
    }

    /// Hands a part to its lane, or refuses it in its place in the order.
    async fn submit(
        &self,
        work: Work,
        routed_by: RoutedBy,
        chain: Option<&Chain>,
        refusal: Option<Error>,
    ) -> oneshot::Receiver<Reply> {
        let (reply, receiver) = oneshot::channel();
        let lane = self.lane(work.partition);
        let (permit, refusal) = match refusal {
            Some(error) => (None, Some(error)),
            None => match self.admit(work.bytes()).await {
                Ok(permit) => (Some(permit), None),
                Err(error) => (None, Some(error)),
            },
        };
        let mut submission = Submission { work, reply, routed_by, permit, chain: chain.cloned(), refusal };
        match submission.refusal.take_if(|_| chain.is_none()) {
            Some(error) => submission.refuse(error),
            // On a publish stream a refusal is given by the lane, in its place in the order.
            None => lane.submit(submission).await,
        }
        receiver
    }

    fn lane(&self, partition: PartitionId) -> &LaneHandle {
        &self.lanes[partition.0 as usize % self.lanes.len()]
    }

    /// Room in memory for so many bytes; waits a while before it refuses.
    async fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let units = (bytes.div_ceil(UNIT) as u32).clamp(1, self.room_units);
        let room = self.room.clone().acquire_many_owned(units);
        match tokio::time::timeout(ADMISSION_WAIT, room).await {
            Ok(Ok(permit)) => {
                metrics::get().publish_in_flight_bytes.set(self.in_flight_bytes() as f64);
                Ok(permit)
            }
            _ => {
                let limit = self.room_units as usize * UNIT;
                Err(Error::new(
                    Reason::PublishBacklogFull,
                    format!("{limit} bytes wait to be appended already; nothing was applied"),
                )
                .fact("in_flight_bytes_max", limit)
                .applied(Applied::No)
                .retry_after(BACKLOG_RETRY))
            }
        }
    }

    /// Bytes admitted and not yet appended, about.
    pub fn in_flight_bytes(&self) -> usize {
        (self.room_units as usize - self.room.available_permits()) * UNIT
    }
}

/// What keeps a request in the order of its producer and publish stream.
#[derive(Clone, Copy)]
struct Order<'a> {
    producer: Option<Producer>,
    after_refusal: bool,
    chain: Option<&'a Chain>,
}

/// The partitions whose order a refused request concerns: the one that it named, otherwise all, because nobody knows where its
/// events would have gone.
fn meant(stream: &Stream, partition: Option<u32>) -> Vec<PartitionId> {
    match partition {
        Some(index) => stream.partitions.get(index as usize).copied().into_iter().collect(),
        None => stream.partitions.clone(),
    }
}

/// Indexes of a part's events within the client's request: `picked` are those of the request that was split, `among` those of
/// its events within the client's. None: they are the same.
fn indexes(picked: Option<&[u32]>, among: Option<&[u32]>) -> Option<Vec<u32>> {
    match (picked, among) {
        (None, among) => among.map(<[u32]>::to_vec),
        (Some(picked), None) => Some(picked.to_vec()),
        (Some(picked), Some(among)) => {
            Some(picked.iter().map(|at| among.get(*at as usize).copied().unwrap_or(*at)).collect())
        }
    }
}

/// The version by which the partitions were chosen: the client's, or, when the broker chooses, the one that it chooses by. An
/// explicit partition without one is not checked.
fn routing_version(stream: &Stream, request: &Request) -> i64 {
    if request.partition.is_some() { request.routing_version } else { stream.routing_version }
}

fn work(
    stream: &Stream,
    partition: PartitionId,
    publisher: &Arc<str>,
    events: Vec<Event>,
    routing_version: i64,
    order: Order<'_>,
) -> Work {
    let bytes = events.iter().map(Event::size).sum();
    let mut encoder = Encoder::with_capacity(events.len(), bytes);
    events.iter().for_each(|event| encoder.push(event.fields()));
    Work {
        organization: stream.organization,
        partition,
        producer: order.producer,
        publisher: publisher.clone(),
        routing_version,
        events,
        encoded: encoder.finish(),
        alone: false,
        after_refusal: order.after_refusal,
        terms: None,
    }
}
