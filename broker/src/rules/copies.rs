//! Copies on their way into other streams.
//!
//! **Invariant:** a copy is appended once. Its idempotency key names the rule and the position of the event, so whoever makes it
//! again, with the same rules or others, gets the place of the first one. A key is known to its partition only. So the partition is
//! chosen here, by the routing version that was looked at: when the stream has got more partitions, the append refuses, and every
//! partition is asked for copies that an earlier holder may have made before. The limit is the time for which the stream keeps keys.

use crate::domain::ids::StreamName;
use crate::domain::rule::apply::Copy;
use crate::domain::stream::Stream;
use crate::domain::{Error, Reason, Result};
use crate::identity::{Granted, Publish};
use crate::publish::terms::Expected;
use crate::publish::{Outcome, Publisher, Request};
use crate::store::{Store, rules as stored};
use eventflow_proto::partition_of_key;
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events and bytes of one request.
const EVENTS: usize = 2_000;
const BYTES: usize = 2 * 1024 * 1024;
/// How long a copy waits for a rate or for room before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_millis(200);
/// How often copies are routed: each time their stream has changed once more in between.
const ROUTES: usize = 8;
/// The routing version of a stream that never got more partitions.
const FIRST_ROUTING: i64 = 1;

/// Whether an earlier holder may have made the same copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    No,
    Maybe,
}

/// Makes copies for the rules of one stream.
pub(super) struct Copier {
    pub store: Store,
    pub publisher: Publisher,
    pub granted: Granted<Publish>,
    /// As events keep it.
    pub name: Arc<str>,
}

/// Copies by partition, in their order.
type Parts<'a> = BTreeMap<u32, Vec<&'a Copy>>;

impl Copier {
    /// Appends copies, in their order for each partition. `None`: it was called off. When one is refused, it is not known which
    /// others were appended.
    pub async fn append(&self, copies: &[&Copy], earlier: Earlier, off: &CancellationToken) -> Option<Result<()>> {
        let mut by_stream: BTreeMap<&StreamName, Vec<&Copy>> = BTreeMap::new();
        copies.iter().for_each(|copy| by_stream.entry(&copy.stream).or_default().push(copy));
        for (stream, copies) in by_stream {
            match self.to_stream(stream, &copies, earlier, off).await? {
                Ok(()) => {}
                refused => return Some(refused),
            }
        }
        Some(Ok(()))
    }

    async fn to_stream(
        &self,
        name: &StreamName,
        copies: &[&Copy],
        mut earlier: Earlier,
        off: &CancellationToken,
    ) -> Option<Result<()>> {
        let mut left = ROUTES;
        loop {
            left -= 1;
            let (parts, stream) = match self.route(name, copies, earlier).await {
                Ok(routed) => routed,
                Err(error) if error.reason() == Reason::DatabaseUnavailable => {
                    left += 1;
                    pause(WAIT, off).await?;
                    continue;
                }
                Err(error) => return Some(Err(error)),
            };
            let appended = join_all(parts.iter().map(|(index, part)| self.to_partition(&stream, *index, part, off)));
            let mut stale = false;
            for outcome in appended.await {
                match outcome? {
                    Ok(()) => {}
                    Err(error) if is_stale(&error) && left > 0 => stale = true,
                    refused => return Some(refused),
                }
            }
            if !stale {
                return Some(Ok(()));
            }
            // What was appended by the old version is in another partition than it would go to now.
            self.publisher.forget(&stream);
            earlier = Earlier::Maybe;
        }
    }

    async fn route<'a>(
        &self,
        name: &StreamName,
        copies: &[&'a Copy],
        earlier: Earlier,
    ) -> Result<(Parts<'a>, Arc<Stream>)> {
        let stream = self.publisher.stream(&self.granted, name).await?;
        let known = self.known(&stream, copies, earlier).await?;
        Ok((parts(&stream, copies, &known), stream))
    }

    /// The keys of copies that are in the stream already.
    async fn known(&self, stream: &Stream, copies: &[&Copy], earlier: Earlier) -> Result<HashSet<String>> {
        if earlier == Earlier::No || stream.routing_version == FIRST_ROUTING {
            return Ok(HashSet::new());
        }
        let keys: Vec<&str> = copies.iter().filter_map(|copy| copy.event.idempotency_key.as_deref()).collect();
        let db = self.store.conn().await?;
        stored::known_keys(&**db, stream.organization, stream.id, &keys).await
    }

    async fn to_partition(
        &self,
        stream: &Stream,
        partition: u32,
        part: &[&Copy],
        off: &CancellationToken,
    ) -> Option<Result<()>> {
        let mut rest = part;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(fitting(rest));
            match self.request(stream, partition, chunk, off).await? {
                Ok(()) => rest = behind,
                refused => return Some(refused),
            }
        }
        Some(Ok(()))
    }

    /// Publishes until it is known what came of it; what passes by itself is waited for.
    async fn request(
        &self,
        stream: &Stream,
        partition: u32,
        chunk: &[&Copy],
        off: &CancellationToken,
    ) -> Option<Result<()>> {
        let since = Instant::now();
        loop {
            let outcome = tokio::select! {
                outcome = self.publish(stream, partition, chunk) => outcome,
                () = off.cancelled() => return None,
            };
            let error = match outcome {
                Err(error) if waits(&error, since.elapsed()) => error,
                outcome => return Some(outcome),
            };
            let wait = error.retry_delay().unwrap_or(WAIT).clamp(WAIT / 20, PATIENCE);
            pause(wait, off).await?;
        }
    }

    async fn publish(&self, stream: &Stream, partition: u32, chunk: &[&Copy]) -> Result<()> {
        let request = Request {
            stream: stream.name.clone(),
            events: chunk.iter().map(|copy| copy.event.clone()).collect(),
            partition: Some(partition),
            producer: None,
            publisher: self.name.clone(),
            routing_version: stream.routing_version,
            validate_only: false,
            after_refusal: false,
            expected: Expected::default(),
        };
        let queued = self.publisher.publish(&self.granted, request, None).await?;
        for part in self.publisher.settle(queued, None).await {
            if let Outcome::Refused(error) = part.outcome {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// `None`: it was called off.
async fn pause(wait: Duration, off: &CancellationToken) -> Option<()> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Some(()),
        () = off.cancelled() => None,
    }
}

/// Whether the stream is not the one that was looked at: it has more partitions, or is a new one of the name.
fn is_stale(error: &Error) -> bool {
    matches!(error.reason(), Reason::StaleRouting | Reason::StreamNotFound)
}

/// Whether the same will be accepted in a while: the copy is not what is wrong.
fn waits(error: &Error, waited: Duration) -> bool {
    match error.reason() {
        // Known by its key when it is made again.
        Reason::OutcomeUnknown | Reason::DatabaseUnavailable | Reason::UnsafeDurability | Reason::ConcurrentChange => {
            true
        }
        Reason::RateLimited | Reason::PublishBacklogFull | Reason::Overloaded => waited < PATIENCE,
        _ => false,
    }
}

fn parts<'a>(stream: &Stream, copies: &[&'a Copy], known: &HashSet<String>) -> Parts<'a> {
    let mut parts = Parts::new();
    for copy in copies {
        let own = copy.event.idempotency_key.as_deref().unwrap_or_default();
        if known.contains(own) {
            continue;
        }
        // As every publish without a partition is routed.
        let key = copy.event.key.as_deref().unwrap_or(own);
        let index = partition_of_key(key.as_bytes(), stream.partition_count());
        parts.entry(index).or_default().push(copy);
    }
    parts
}

/// How many of these go together: at least one.
fn fitting(copies: &[&Copy]) -> usize {
    let mut bytes = 0;
    let fits = copies.iter().take(EVENTS).take_while(|copy| {
        bytes += copy.event.size();
        bytes <= BYTES
    });
    fits.count().max(1)
}
