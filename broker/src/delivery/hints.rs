//! Hints between brokers: "partition p has events up to h", "group g changed". A hint that is lost costs the time of a poll, so they
//! are coalesced, bounded, and sent on a connection of their own, never inside an append (NOTIFY takes a lock that all commits of
//! the server share).

use crate::domain::Result;
use crate::domain::ids::{GroupId, PartitionId};
use crate::groups::Groups;
use crate::store::{Connection, Store, hints};
use crate::tail::Tail;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two notifications of one broker.
const INTERVAL: Duration = Duration::from_millis(5);
/// Partitions or groups that one notification names; more say "look at everything".
const NAMED: usize = 200;
const RECONNECT: Duration = Duration::from_secs(1);

/// Sends this broker's hints and hears those of others.
pub struct Hints {
    pub store: Store,
    pub tail: Tail,
    pub groups: Groups,
    /// Told apart from the hints of others.
    pub sender: uuid::Uuid,
}

impl Hints {
    /// Runs until told to stop; without a connection the others poll.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        loop {
            let served = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                served = self.serve() => served,
            };
            if let Err(error) = served {
                tracing::debug!(?error, "hints are interrupted; polling goes on");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn serve(&self) -> Result<()> {
        let mut connection = self.store.connect("hints").await?;
        hints::listen(connection.client()).await?;
        let Some(mut heard) = connection.take_notifications() else { return Ok(()) };
        // What was said before we listened is found by looking.
        self.look_at_everything();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                text = next(&mut heard) => match text {
                    Some(text) => self.hear(&text),
                    None => return Ok(()),
                },
                _ = ticks.tick() => self.say(&connection).await?,
            }
        }
    }

    async fn say(&self, connection: &Connection) -> Result<()> {
        let partitions = self.tail.take_hints();
        let groups = self.groups.take_changed();
        if partitions.is_empty() && groups.is_empty() {
            return Ok(());
        }
        let text = if partitions.len() + groups.len() > NAMED {
            format!("{} *", self.sender.simple())
        } else {
            let mut text = self.sender.simple().to_string();
            partitions.iter().for_each(|(partition, head)| text.push_str(&format!(" p{}:{head}", partition.0)));
            groups.iter().for_each(|group| text.push_str(&format!(" g{}", group.0)));
            text
        };
        hints::notify(connection.client(), &text).await
    }

    fn hear(&self, text: &str) {
        let mut words = text.split(' ');
        if words.next() == Some(self.sender.simple().to_string().as_str()) {
            return;
        }
        for word in words {
            if word == "*" {
                self.look_at_everything();
            } else if let Some((partition, head)) = word.strip_prefix('p').and_then(partition_and_head) {
                // A partition that nobody watches here, or that is known so far, is no news.
                if self.tail.end(partition).is_some_and(|end| end < head) {
                    self.tail.stale(partition);
                }
            } else if let Some(group) = word.strip_prefix('g').and_then(|id| id.parse().ok()) {
                self.groups.nudge(GroupId(group));
            }
        }
    }

    fn look_at_everything(&self) {
        self.tail.watched().into_iter().for_each(|(partition, _)| self.tail.stale(partition));
    }
}

fn partition_and_head(text: &str) -> Option<(PartitionId, i64)> {
    let (partition, head) = text.split_once(':')?;
    Some((PartitionId(partition.parse().ok()?), head.parse().ok()?))
}

async fn next(heard: &mut mpsc::Receiver<String>) -> Option<String> {
    heard.recv().await
}
