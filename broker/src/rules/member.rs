//! One broker in the group that runs the rules of a stream: a member like any other, but for the wire between.
//!
//! A partition's deliveries are worked on one after the other, partitions beside each other. What is being worked on is called off
//! when the partition goes or is moved; its copies may be under way then, and are made again by whoever has it next, under the same
//! keys. After a failure in place nothing of the partition is touched until the session says where it goes on: what was delivered
//! behind the event comes again.

use crate::delivery::control::Control;
use crate::delivery::frame::{Frame, Lease, Started};
use crate::delivery::frames::Frames;
use crate::delivery::{Deliveries, Subscription};
use crate::domain::{Error, Reason, Result};
use crate::identity::{Consume, Publish, granted_to_rules};
use crate::publish::Publisher;
use crate::rules::Rules;
use crate::rules::chain::Chain;
use crate::rules::copies::{Copier, Earlier};
use crate::rules::place::{Job, Place};
use crate::rules::work::{Finished, Work};
use crate::store::rules::Pipeline;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a member may have delivered and not committed: also how far behind its progress a dead one may have made copies.
const WINDOW_EVENTS: u32 = 8_192;
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Events and bytes of one delivery.
const BATCH: (u64, u64) = (1_024, 1024 * 1024);
/// Between two sessions.
const AGAIN: Duration = Duration::from_millis(250);

/// What runs the rules of one stream at this broker.
pub(super) struct Member {
    pub rules: Rules,
    pub deliveries: Deliveries,
    pub publisher: Publisher,
    pub pipeline: Pipeline,
    pub chain: watch::Receiver<Chain>,
    /// Fires when the stream has no rules any more.
    pub gone: CancellationToken,
}

impl Member {
    /// Is a member, again and again, until there are no rules or the broker drains.
    pub async fn run(self) -> Result<()> {
        let draining = self.deliveries.draining.clone();
        while !self.gone.is_cancelled() && !draining.is_cancelled() {
            if let Err(error) = self.serve().await {
                tracing::debug!(?error, stream = %self.pipeline.stream, "a rules session ended");
            }
            tokio::select! {
                () = self.gone.cancelled() => {}
                () = draining.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        Ok(())
    }

    async fn serve(&self) -> Result<()> {
        let organization = self.pipeline.organization;
        let granted = granted_to_rules(organization, Consume);
        let mut frames = self.deliveries.subscribe(&granted, self.subscription()).await?;
        let Some(Ok(Frame::Started(started))) = frames.next().await else { return Ok(()) };
        let control = self.deliveries.registry.local(started.session);
        let control = control.ok_or_else(|| Error::new(Reason::SessionNotFound, "the session has ended already"))?;
        let work = Work {
            organization,
            stream: self.pipeline.stream.clone(),
            partitions: self.deliveries.catalogue.stream_by_id(organization, self.pipeline.stream_id).await?,
            catalogue: self.deliveries.catalogue.clone(),
            chain: self.chain.clone(),
            copier: Copier {
                store: self.rules.store.clone(),
                publisher: self.publisher.clone(),
                granted: granted_to_rules(organization, Publish),
                name: format!("rules:{}", self.pipeline.stream).into(),
            },
            counts: self.rules.counts.clone(),
            control: control.clone(),
            blocks: started.blocks,
        };
        let holding = Holding {
            places: BTreeMap::new(),
            work: Arc::new(work),
            running: FuturesUnordered::new(),
            leaving: Leaving::No,
        };
        holding.run(&mut frames, control, &self.gone, &started).await
    }

    fn subscription(&self) -> Subscription {
        let broker = &self.deliveries.settings.broker_name;
        Subscription {
            group: self.pipeline.group.clone(),
            // Its own in each session: two brokers of one name are two members.
            member: Some(format!("rules-{}", Uuid::new_v4().simple())),
            window_events: WINDOW_EVENTS,
            window_bytes: WINDOW_BYTES,
            redeliveries: true,
            batch: BATCH,
            silence_limit: None,
            client: format!("rules at {broker}").chars().take(100).collect(),
            client_address: String::new(),
            going: CancellationToken::new(),
            withdrawn: CancellationToken::new(),
        }
    }
}

/// What a session holds.
struct Holding {
    places: BTreeMap<u32, Place>,
    work: Arc<Work>,
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
    leaving: Leaving,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// Nothing new is begun; what is being done is finished first.
    Finishing,
    /// The session was told.
    Said,
}

impl Holding {
    async fn run(
        mut self,
        frames: &mut Frames,
        control: mpsc::Sender<Control>,
        gone: &CancellationToken,
        started: &Started,
    ) -> Result<()> {
        tracing::debug!(stream = %started.stream, session = %started.session, "running rules");
        loop {
            if self.leaving == Leaving::Finishing && self.running.is_empty() {
                self.leaving = Leaving::Said;
                let _ = control.send(Control::Leave).await;
            }
            tokio::select! {
                frame = frames.next() => match frame {
                    Some(Ok(frame)) => self.hear(frame),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                Some(finished) = self.running.next(), if !self.running.is_empty() => self.finished(&finished),
                () = gone.cancelled(), if self.leaving == Leaving::No => {
                    self.places.clear();
                    self.leaving = Leaving::Finishing;
                }
            }
        }
    }

    fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Assigned(leases) => {
                for Lease { partition, fence, .. } in leases {
                    self.places.insert(partition, Place::new(fence, WINDOW_EVENTS as usize));
                }
            }
            Frame::Batch(delivery) | Frame::Dealt { delivery, .. } => {
                let partition = delivery.partition;
                if let Some(place) = self.places.get_mut(&partition).filter(|place| place.fence == delivery.fence) {
                    place.waiting.push_back(Job::Batch(delivery));
                }
                self.begin(partition);
            }
            Frame::Redelivered { events, .. } => {
                for again in events {
                    let partition = again.delivery.partition;
                    if let Some(place) = self.places.get_mut(&partition) {
                        place.waiting.push_back(Job::Again(again));
                    }
                    self.begin(partition);
                }
            }
            Frame::Repositioned(Lease { partition, fence, .. }) => {
                if let Some(place) = self.places.get_mut(&partition) {
                    place.reposition(fence, WINDOW_EVENTS as usize);
                }
                self.begin(partition);
            }
            Frame::Lost(partitions) => partitions.iter().for_each(|partition| drop(self.places.remove(partition))),
            Frame::Truncated { partition, from, to, .. } => {
                tracing::warn!(stream = %self.work.stream, partition, from, to, "events were removed before rules saw them");
            }
            // What it holds is given up as it is committed.
            Frame::Started(_) | Frame::Heartbeat { .. } | Frame::Revoking { .. } => {}
            Frame::GoAway { .. } => {
                self.places.values_mut().for_each(|place| place.waiting.clear());
                self.leaving = Leaving::Finishing;
            }
        }
    }

    /// Begins what waits for a partition, when it may.
    fn begin(&mut self, partition: u32) {
        if self.leaving != Leaving::No {
            return;
        }
        let Some(place) = self.places.get_mut(&partition) else { return };
        let Some(job) = place.next() else { return };
        let off = CancellationToken::new();
        place.busy = Some(off.clone());
        let earlier = match &job {
            Job::Again(_) => Earlier::Maybe,
            Job::Batch(_) if place.uncertain > 0 => Earlier::Maybe,
            Job::Batch(_) => Earlier::No,
        };
        if let Job::Batch(delivery) = &job {
            place.uncertain = place.uncertain.saturating_sub(delivery.event_count());
        }
        let work = self.work.clone();
        self.running.push(Box::pin(async move {
            let halted = work.carry_out(job, earlier, &off).await;
            Finished { partition, off, halted }
        }));
    }

    fn finished(&mut self, finished: &Finished) {
        let Finished { partition, off, halted } = finished;
        let Some(place) = self.places.get_mut(partition) else { return };
        // One that was called off belongs to a place that is gone, or was moved.
        if off.is_cancelled() && place.busy.as_ref().is_some_and(|busy| !busy.is_cancelled()) {
            return;
        }
        place.busy = None;
        place.halted |= *halted && !off.is_cancelled();
        self.begin(*partition);
    }
}
