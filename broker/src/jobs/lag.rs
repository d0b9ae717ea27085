//! Counts how far the groups with members at this broker are behind, for `/metrics`.
//!
//! Bounded: so many groups are shown, and a round looks at so many partitions; when there are more, groups take turns and keep
//! their last value meanwhile. Every broker counts the groups of its own members, the whole group each time.

use crate::domain::Result;
use crate::domain::ids::GroupId;
use crate::domain::limits::{LAG_GROUPS_MAX, LAG_PARTITIONS_MAX};
use crate::domain::reports::GroupLag;
use crate::groups::Groups;
use crate::store::{Store, consumer_groups};
use crate::telemetry::lag::LagBoard;
use crate::telemetry::metrics;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);

/// The job and what it remembers between rounds.
pub struct Lag {
    store: Store,
    groups: Groups,
    board: LagBoard,
    known: BTreeMap<GroupId, GroupLag>,
    /// The group that was counted last.
    last: GroupId,
}

impl Lag {
    pub fn new(store: Store, groups: Groups, board: LagBoard) -> Self {
        Self { store, groups, board, known: BTreeMap::new(), last: GroupId(0) }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.8..1.2))) => {}
            }
            if let Err(error) = self.round().await {
                metrics::get().job_failures.increment(1);
                tracing::debug!(?error, "the lag of groups could not be counted; the next round tries again");
            }
        }
    }

    async fn round(&mut self) -> Result<()> {
        let mut present: Vec<(GroupId, usize)> = self.groups.sizes();
        present.sort_unstable();
        present.truncate(LAG_GROUPS_MAX);
        self.known.retain(|group, _| present.binary_search_by_key(group, |(present, _)| *present).is_ok());
        let turn = turn(&present, self.last, LAG_PARTITIONS_MAX);
        if let Some(last) = turn.last() {
            let db = self.store.conn().await?;
            self.known.extend(consumer_groups::lags(&**db, &turn).await?);
            self.last = *last;
        }
        self.board.show(self.known.values().cloned().collect());
        Ok(())
    }
}

/// Which groups are counted now: those behind `last`, around the end, at most so many partitions but at least one group.
fn turn(present: &[(GroupId, usize)], last: GroupId, partitions_max: usize) -> Vec<GroupId> {
    let start = present.partition_point(|(group, _)| *group <= last);
    let mut partitions = 0;
    let order = present[start..].iter().chain(&present[..start]);
    let within = order.take_while(|(_, size)| {
        let first = partitions == 0;
        partitions += size.max(&1);
        first || partitions <= partitions_max
    });
    within.map(|(group, _)| *group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_turns_when_they_have_too_many_partitions_for_one_round() {
        let present: Vec<(GroupId, usize)> = (1..=4).map(|group| (GroupId(group), 10)).collect();
        let turn = |last, max| turn(&present, GroupId(last), max).into_iter().map(|group| group.0).collect::<Vec<_>>();
        assert_eq!(turn(0, 100), [1, 2, 3, 4]);
        assert_eq!(turn(0, 25), [1, 2]);
        assert_eq!(turn(2, 25), [3, 4]);
        assert_eq!(turn(3, 25), [4, 1]);
        assert_eq!(turn(4, 5), [1], "at least one");
        assert_eq!(turn(2, 1_000), [3, 4, 1, 2], "each once");
    }
}
