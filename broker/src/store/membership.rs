//! Members, leases and assignments: one server-side call each, fenced in the database.

use crate::domain::filter::Filter;
use crate::domain::ids::{GroupId, OrganizationId, PartitionId};
use crate::domain::limits::MEMBERS_MAX;
use crate::domain::{Error, Result};
use crate::store::{Client, error::from_postgres};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// A group's state in the life of the database: versions count within a log epoch, because a failover may take the last ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersion {
    pub log_epoch: i64,
    pub version: i64,
}

/// How a join ended. The version is the group's after it: a snapshot of an earlier one knows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    New {
        since: GroupVersion,
    },
    /// The same name came back: it keeps its partitions, under new epochs.
    Reattached {
        since: GroupVersion,
    },
    GroupNotFound,
    TooManyMembers,
    BrokerExpired,
}

/// Who joins.
#[derive(Clone, Debug)]
pub struct Join<'a> {
    pub organization: OrganizationId,
    pub group: GroupId,
    pub member: &'a str,
    pub session: Uuid,
    pub broker: Uuid,
    pub client: &'a str,
    pub client_address: &'a str,
}

pub async fn join(db: &impl Client, join: &Join<'_>) -> Result<Joined> {
    let row = db
        .query_one(
            include_str!("sql/member/join.sql"),
            &[
                &join.organization.0,
                &join.group.0,
                &join.member,
                &join.session,
                &join.broker,
                &join.client,
                &join.client_address,
                &(MEMBERS_MAX as i32),
            ],
        )
        .await
        .map_err(from_postgres)?;
    let since = GroupVersion { version: get(&row, 1)?, log_epoch: get(&row, 2)? };
    Ok(match get::<&str>(&row, 0)? {
        "joined" => Joined::New { since },
        "reattached" => Joined::Reattached { since },
        "too_many_members" => Joined::TooManyMembers,
        "broker_expired" => Joined::BrokerExpired,
        _ => Joined::GroupNotFound,
    })
}

/// A clean leave: the member's partitions are free at once.
pub async fn leave(db: &impl Client, organization: OrganizationId, group: GroupId, session: Uuid) -> Result<()> {
    db.execute("select eventflow.leave_v1($1, $2, $3)", &[&organization.0, &group.0, &session])
        .await
        .map_err(from_postgres)?;
    Ok(())
}

/// A broken stream: the member keeps its partitions for the grace.
pub async fn detach(
    db: &impl Client,
    organization: OrganizationId,
    group: GroupId,
    session: Uuid,
    grace: Duration,
) -> Result<()> {
    db.execute(
        "select eventflow.detach_v1($1, $2, $3, $4)",
        &[&organization.0, &group.0, &session, &(grace.as_millis() as i64)],
    )
    .await
    .map_err(from_postgres)?;
    Ok(())
}

/// A group as one snapshot shows it.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    pub organization: OrganizationId,
    pub generation: i64,
    pub assigned_generation: i64,
    pub version: i64,
    pub paused: bool,
    pub log_epoch: i64,
    /// None: every event matches.
    pub filter: Option<Filter>,
    /// By name.
    pub members: Vec<GroupMember>,
    /// By index.
    pub partitions: Vec<PartitionLease>,
}

impl GroupSnapshot {
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { log_epoch: self.log_epoch, version: self.version }
    }
}

/// A member's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub name: String,
    pub session: Uuid,
    /// Its stream is broken and its grace runs.
    pub away: bool,
}

/// A partition's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLease {
    pub partition: PartitionId,
    pub index: u32,
    pub next_offset: i64,
    pub lease_epoch: i64,
    pub holder: Option<String>,
    pub session: Option<Uuid>,
    pub target: Option<String>,
    /// Time left until the partition is taken from its holder; set while it is being drained.
    pub drain_left_ms: Option<i64>,
    /// The event at `next_offset` is being retried in place.
    pub in_place: bool,
}

/// None: the group is gone.
pub async fn snapshot(db: &impl Client, group: GroupId) -> Result<Option<GroupSnapshot>> {
    let row = db.query_opt(include_str!("sql/group/snapshot.sql"), &[&group.0]).await.map_err(from_postgres)?;
    let Some(row) = row else { return Ok(None) };
    // After the snapshot: it is that of its version, or a later one, whose version is looked at in turn.
    let filter = db.query_one(include_str!("sql/group/filter.sql"), &[&group.0]).await.map_err(from_postgres)?;
    let filter: Option<&str> = filter.get(0);
    read_snapshot(&row, Filter::parse("group.filter", filter.unwrap_or_default())?).map(Some)
}

fn read_snapshot(row: &Row, filter: Option<Filter>) -> Result<GroupSnapshot> {
    let names: Vec<String> = get(row, 6)?;
    let sessions: Vec<Uuid> = get(row, 7)?;
    let ids: Vec<i64> = get(row, 8)?;
    let indexes: Vec<i32> = get(row, 9)?;
    let next_offsets: Vec<i64> = get(row, 10)?;
    let lease_epochs: Vec<i64> = get(row, 11)?;
    let holders: Vec<Option<String>> = get(row, 12)?;
    let holder_sessions: Vec<Option<Uuid>> = get(row, 13)?;
    let targets: Vec<Option<String>> = get(row, 14)?;
    let drains: Vec<Option<i64>> = get(row, 15)?;
    let away: Vec<bool> = get(row, 16)?;
    let in_place: Vec<bool> = get(row, 17)?;
    let members = names.into_iter().zip(sessions).zip(away);
    let mut partitions = Vec::with_capacity(ids.len());
    let rest = holders.into_iter().zip(holder_sessions).zip(targets.into_iter().zip(drains));
    for (place, ((holder, session), (target, drain_left_ms))) in rest.enumerate() {
        partitions.push(PartitionLease {
            partition: PartitionId(ids[place]),
            index: indexes[place] as u32,
            next_offset: next_offsets[place],
            lease_epoch: lease_epochs[place],
            holder,
            session,
            target,
            drain_left_ms,
            in_place: in_place[place],
        });
    }
    Ok(GroupSnapshot {
        organization: OrganizationId(get(row, 0)?),
        generation: get(row, 1)?,
        assigned_generation: get(row, 2)?,
        version: get(row, 3)?,
        paused: get(row, 4)?,
        log_epoch: get(row, 5)?,
        filter,
        members: members.map(|((name, session), away)| GroupMember { name, session, away }).collect(),
        partitions,
    })
}

/// Versions of groups: (group, version, an assignment is due). Groups that are gone are left out.
pub async fn versions(db: &impl Client, groups: &[GroupId]) -> Result<Vec<(GroupId, i64, bool)>> {
    let ids: Vec<i64> = groups.iter().map(|group| group.0).collect();
    let rows = db
        .query("select group_id, version, unassigned from eventflow.group_versions_v1($1)", &[&ids])
        .await
        .map_err(from_postgres)?;
    rows.iter().map(|row| Ok((GroupId(get(row, 0)?), get(row, 1)?, get(row, 2)?))).collect()
}

/// Applies an assignment (partition and member) computed for a generation. False: the group has changed since.
pub async fn assign(
    db: &impl Client,
    group: GroupId,
    generation: i64,
    assignment: &[(PartitionId, &str)],
) -> Result<bool> {
    let partitions: Vec<i64> = assignment.iter().map(|(partition, _)| partition.0).collect();
    let members: Vec<&str> = assignment.iter().map(|(_, member)| *member).collect();
    let row = db
        .query_one("select eventflow.assign_v1($1, $2, $3, $4)", &[&group.0, &generation, &partitions, &members])
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

/// Gives up partitions that are being drained; answers which went.
pub async fn release(
    db: &impl Client,
    organization: OrganizationId,
    group: GroupId,
    session: Uuid,
    partitions: &[PartitionId],
) -> Result<Vec<PartitionId>> {
    let ids: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    let row = db
        .query_one("select eventflow.release_v1($1, $2, $3, $4)", &[&organization.0, &group.0, &session, &ids])
        .await
        .map_err(from_postgres)?;
    Ok(get::<Vec<i64>>(&row, 0)?.into_iter().map(PartitionId).collect())
}

/// Sweeps what time has taken; answers the groups that changed.
pub async fn sweep(db: &impl Client, drain_slack: Duration) -> Result<Vec<GroupId>> {
    let rows = db
        .query("select distinct eventflow.sweep_v1($1)", &[&(drain_slack.as_millis() as i64)])
        .await
        .map_err(from_postgres)?;
    rows.iter().map(|row| Ok(GroupId(get(row, 0)?))).collect()
}

/// Starts a broker's lease.
pub async fn start_broker(
    db: &impl Client,
    broker: Uuid,
    name: &str,
    address: &str,
    version: &str,
    ttl: Duration,
) -> Result<()> {
    db.execute(
        "select eventflow.broker_start_v1($1, $2, $3, $4, $5)",
        &[&broker, &name, &address, &version, &(ttl.as_millis() as i64)],
    )
    .await
    .map_err(from_postgres)?;
    Ok(())
}

/// Renews it. False: it was swept, and everything that hung on it is gone.
pub async fn renew_broker(db: &impl Client, broker: Uuid, ttl: Duration) -> Result<bool> {
    let row = db
        .query_one("select eventflow.broker_renew_v1($1, $2)", &[&broker, &(ttl.as_millis() as i64)])
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

/// Ends it, soon: when the grace of its members is over, another broker may sweep.
pub async fn stop_broker(db: &impl Client, broker: Uuid) -> Result<()> {
    db.execute("select eventflow.broker_stop_v1($1)", &[&broker]).await.map_err(from_postgres)?;
    Ok(())
}

/// Where a session lives: organization, broker's name and address.
pub async fn session_broker(db: &impl Client, session: Uuid) -> Result<Option<(OrganizationId, String, String)>> {
    let row = db
        .query_opt("select organization_id, name, address from eventflow.session_broker_v1($1)", &[&session])
        .await
        .map_err(from_postgres)?;
    row.map(|row| Ok((OrganizationId(get(&row, 0)?), get(&row, 1)?, get(&row, 2)?))).transpose()
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(Error::internal)
}
