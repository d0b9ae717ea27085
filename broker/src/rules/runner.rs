//! Which pipelines there are: a member for each, told of every change.

use crate::delivery::Deliveries;
use crate::domain::Result;
use crate::domain::ids::{GroupId, StreamId};
use crate::publish::Publisher;
use crate::rules::Rules;
use crate::rules::chain::Chain;
use crate::rules::member::Member;
use crate::runtime::{Kind, Tasks};
use crate::store::rules::{self as stored, Pipeline};
use crate::telemetry::metrics;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between looks: how long another broker's change may take to arrive.
const INTERVAL: Duration = Duration::from_millis(500);
/// Between writes of what was counted.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the rules of all streams at this broker.
pub struct Runner {
    pub rules: Rules,
    pub deliveries: Deliveries,
    pub publisher: Publisher,
    pub tasks: Tasks,
}

/// A pipeline that runs here.
struct Running {
    /// The group, and when its settings were changed: a session keeps those that it began with.
    group: (GroupId, i64),
    version: i64,
    chain: watch::Sender<Chain>,
    gone: CancellationToken,
    task: JoinHandle<()>,
}

impl Runner {
    /// Looks until the broker stops.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut running: HashMap<StreamId, Running> = HashMap::new();
        let (mut stamp, mut written) = (None, Instant::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.rules.changed.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if let Err(error) = self.look(&mut running, &mut stamp).await {
                tracing::debug!(?error, "could not look for rules; trying again");
            }
            if written.elapsed() >= COUNTS_INTERVAL {
                self.write_counts().await;
                written = Instant::now();
            }
        }
        self.write_counts().await;
        Ok(())
    }

    async fn write_counts(&self) {
        if let Err(error) = self.rules.counts.write(&self.rules.store).await {
            tracing::debug!(?error, "could not write what rules have done; trying again");
        }
    }

    /// Takes in what has changed.
    async fn look(&self, running: &mut HashMap<StreamId, Running>, seen: &mut Option<String>) -> Result<()> {
        let store = &self.rules.store;
        let stamp = stored::stamp(&**store.conn().await?).await?;
        if seen.as_ref() == Some(&stamp) || self.deliveries.draining.is_cancelled() {
            return Ok(());
        }
        let found = stored::pipelines(&**store.conn().await?).await?;
        let present: HashSet<(StreamId, (GroupId, i64))> =
            found.iter().map(|pipeline| (pipeline.stream_id, group_of(pipeline))).collect();
        let (stay, go): (HashMap<_, _>, HashMap<_, _>) =
            running.drain().partition(|(stream, known)| present.contains(&(*stream, known.group)));
        running.extend(stay);
        let mut before: HashMap<StreamId, JoinHandle<()>> = HashMap::new();
        for (stream, known) in go {
            known.gone.cancel();
            before.insert(stream, known.task);
        }
        for pipeline in found {
            match running.get_mut(&pipeline.stream_id) {
                Some(known) if known.version == pipeline.version => {}
                Some(known) => {
                    let chain = Chain::load(store, &pipeline).await?;
                    known.chain.send_replace(chain);
                    known.version = pipeline.version;
                }
                None => {
                    let chain = Chain::load(store, &pipeline).await?;
                    let before = before.remove(&pipeline.stream_id);
                    running.insert(pipeline.stream_id, self.begin(pipeline, chain, before));
                }
            }
        }
        metrics::get().rule_pipelines.set(running.len() as f64);
        *seen = Some(stamp);
        Ok(())
    }

    /// Starts a member, behind the one `before` it: what members of a broker share keeps the settings that it began with.
    fn begin(&self, pipeline: Pipeline, chain: Chain, before: Option<JoinHandle<()>>) -> Running {
        let (sender, receiver) = watch::channel(chain);
        let gone = CancellationToken::new();
        let (group, version) = (group_of(&pipeline), pipeline.version);
        let member = Member {
            rules: self.rules.clone(),
            deliveries: self.deliveries.clone(),
            publisher: self.publisher.clone(),
            pipeline,
            chain: receiver,
            gone: gone.clone(),
        };
        let task = self.tasks.spawn(Kind::Job, async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            member.run().await
        });
        Running { group, version, chain: sender, gone, task }
    }
}

fn group_of(pipeline: &Pipeline) -> (GroupId, i64) {
    (pipeline.group_id, pipeline.settings_at)
}
