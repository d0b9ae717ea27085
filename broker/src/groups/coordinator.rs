//! What this broker knows of the groups that have sessions here, and how it learns of changes.
//!
//! One task looks at the versions of all watched groups, woken by hints, by sessions, and by a timer. A group whose version moved
//! is read as one snapshot and handed to its sessions; when its members changed, an assignment is computed and applied first.

use crate::domain::Result;
use crate::domain::assign::{Member, Owned, assign};
use crate::domain::ids::GroupId;
use crate::store::membership::{self, GroupSnapshot};
use crate::store::{Pooled, Store};
use crate::telemetry::metrics;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often an assignment is computed anew when others were faster, before the next round takes over.
const ATTEMPTS: usize = 5;

/// What a session sees of its group: None until the first snapshot; `Gone` when the group was deleted.
#[derive(Clone, Debug)]
pub enum View {
    Unknown,
    Known(Arc<GroupSnapshot>),
    Gone,
}

/// The groups of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    watched: Mutex<HashMap<GroupId, Watched>>,
    /// Groups to look at, whatever their version.
    nudged: Mutex<HashSet<GroupId>>,
    news: Notify,
    /// Groups that this broker changed, for hints to the others.
    changed: Mutex<HashSet<GroupId>>,
}

struct Watched {
    view: watch::Sender<View>,
    sessions: usize,
}

/// A session's interest in a group; dropping it ends the interest.
pub struct GroupWatch {
    groups: Groups,
    group: GroupId,
    view: watch::Receiver<View>,
}

impl GroupWatch {
    pub fn view(&mut self) -> &mut watch::Receiver<View> {
        &mut self.view
    }
}

impl Drop for GroupWatch {
    fn drop(&mut self) {
        let mut watched = lock(&self.groups.shared.watched);
        if let Some(entry) = watched.get_mut(&self.group) {
            entry.sessions -= 1;
            if entry.sessions == 0 {
                watched.remove(&self.group);
            }
        }
    }
}

impl Groups {
    pub fn new(store: Store) -> Self {
        let shared = Shared {
            store,
            watched: Mutex::default(),
            nudged: Mutex::default(),
            news: Notify::new(),
            changed: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Watches a group on behalf of a session.
    pub fn watch(&self, group: GroupId) -> GroupWatch {
        let mut watched = lock(&self.shared.watched);
        let entry =
            watched.entry(group).or_insert_with(|| Watched { view: watch::Sender::new(View::Unknown), sessions: 0 });
        entry.sessions += 1;
        let view = entry.view.subscribe();
        drop(watched);
        GroupWatch { groups: self.clone(), group, view }
    }

    /// This broker changed a group (a join, a leave, a release, a seek): look at it now, and tell the others.
    pub fn changed(&self, group: GroupId) {
        lock(&self.shared.changed).insert(group);
        self.nudge(group);
    }

    /// Another broker says that a group changed.
    pub fn nudge(&self, group: GroupId) {
        lock(&self.shared.nudged).insert(group);
        self.shared.news.notify_one();
    }

    /// Takes the groups that this broker changed since the last call.
    pub fn take_changed(&self) -> Vec<GroupId> {
        lock(&self.shared.changed).drain().collect()
    }

    /// Sessions of this broker, all groups together.
    pub fn session_count(&self) -> usize {
        lock(&self.shared.watched).values().map(|entry| entry.sessions).sum()
    }

    /// Groups with sessions at this broker, and how many partitions each has.
    pub fn sizes(&self) -> Vec<(GroupId, usize)> {
        let size = |view: &View| match view {
            View::Known(snapshot) => Some(snapshot.partitions.len()),
            View::Unknown | View::Gone => None,
        };
        let watched = lock(&self.shared.watched);
        watched.iter().filter_map(|(group, entry)| Some((*group, size(&entry.view.borrow())?))).collect()
    }

    /// Looks at groups until told to stop.
    pub async fn run(self, poll: Duration, stop: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(poll);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.shared.news.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.look().await {
                tracing::debug!(?error, "groups could not be looked at; the next round tries again");
            }
        }
    }

    async fn look(&self) -> Result<()> {
        let nudged: HashSet<GroupId> = lock(&self.shared.nudged).drain().collect();
        let known = self.known();
        if known.is_empty() && nudged.is_empty() {
            return Ok(());
        }
        let looked = self.look_at(&known, &nudged).await;
        if looked.is_err() {
            // Not forgotten: the next round looks at them.
            lock(&self.shared.nudged).extend(nudged);
        }
        looked
    }

    async fn look_at(&self, known: &HashMap<GroupId, Option<i64>>, nudged: &HashSet<GroupId>) -> Result<()> {
        let db = self.shared.store.conn().await?;
        let ids: Vec<GroupId> = known.keys().chain(nudged).copied().collect();
        let versions = membership::versions(&**db, &ids).await?;
        let found: HashSet<GroupId> = versions.iter().map(|(group, ..)| *group).collect();
        for (group, version, unassigned) in versions {
            let moved = known.get(&group).is_some_and(|seen| *seen != Some(version));
            if moved || unassigned {
                self.refresh(&db, group).await?;
            }
        }
        for group in known.keys().filter(|group| !found.contains(group)) {
            self.show(*group, View::Gone);
        }
        Ok(())
    }

    /// Watched groups and the version that their sessions have seen.
    fn known(&self) -> HashMap<GroupId, Option<i64>> {
        let seen = |view: &View| match view {
            View::Known(snapshot) => Some(snapshot.version),
            _ => None,
        };
        lock(&self.shared.watched).iter().map(|(group, entry)| (*group, seen(&entry.view.borrow()))).collect()
    }

    async fn refresh(&self, db: &Pooled, group: GroupId) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(snapshot) = membership::snapshot(&***db, group).await? else {
                self.show(group, View::Gone);
                return Ok(());
            };
            if snapshot.generation == snapshot.assigned_generation || snapshot.members.is_empty() {
                self.show(group, View::Known(Arc::new(snapshot)));
                return Ok(());
            }
            if membership::assign(&***db, group, snapshot.generation, &assignment(&snapshot)).await? {
                metrics::get().rebalances.increment(1);
                lock(&self.shared.changed).insert(group);
            }
        }
        Ok(())
    }

    fn show(&self, group: GroupId, view: View) {
        if let Some(entry) = lock(&self.shared.watched).get(&group) {
            entry.view.send_replace(view);
        }
    }
}

/// Computes who gets what; a partition on its way to a member counts as that member's.
fn assignment(snapshot: &GroupSnapshot) -> Vec<(crate::domain::ids::PartitionId, &str)> {
    let members: Vec<Member<'_>> =
        snapshot.members.iter().map(|member| Member { name: &member.name, away: member.away }).collect();
    let is_member = |name: &&str| members.iter().any(|member| member.name == *name);
    let owned: Vec<Owned<'_>> = snapshot
        .partitions
        .iter()
        .map(|lease| Owned {
            partition: lease.partition,
            member: lease.target.as_deref().filter(is_member).or(lease.holder.as_deref()).filter(is_member),
        })
        .collect();
    assign(&members, &owned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
