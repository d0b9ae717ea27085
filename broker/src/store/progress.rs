//! Progress of groups: fenced, coalesced commits in one server-side call.

use crate::domain::ids::{GroupId, OrganizationId, PartitionId};
use crate::domain::position::Fence;
use crate::domain::{Error, Result};
use crate::store::columns::composite_array;
use crate::store::{Client, Connection, error::from_postgres};
use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;
use tokio_postgres::Statement;
use uuid::Uuid;

/// One partition's progress, under the lease that the session believes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub organization: OrganizationId,
    pub group: GroupId,
    pub partition: PartitionId,
    pub session: Uuid,
    pub fence: Fence,
    pub next_offset: i64,
}

/// The fate of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The durable value, which may be further.
    Durable(i64),
    /// The session still holds the partition, under another epoch: the group was moved.
    SeekFenced,
    MemberFenced,
}

pub async fn prepare(connection: &Connection) -> Result<Statement, tokio_postgres::Error> {
    connection.client().prepare(include_str!("sql/progress/commit.sql")).await
}

/// Commits; answers in the order of the inputs. A fenced commit changes nothing.
pub async fn commit(
    connection: &Connection,
    statement: &Statement,
    commits: &[Progress],
) -> Result<Vec<Committed>, tokio_postgres::Error> {
    let rows = connection.client().query(statement, &[&Commits(commits)]).await?;
    rows.iter()
        .map(|row| {
            Ok(match row.try_get::<_, &str>(1)? {
                "committed" => Committed::Durable(row.try_get(2)?),
                "seek_fenced" => Committed::SeekFenced,
                _ => Committed::MemberFenced,
            })
        })
        .collect()
}

#[derive(Debug)]
struct Commits<'a>(&'a [Progress]);

impl ToSql for Commits<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |progress, record| {
            record.int8(progress.organization.0);
            record.int8(progress.group.0);
            record.int8(progress.partition.0);
            record.uuid(progress.session);
            record.int8(progress.fence.log_epoch);
            record.int8(progress.fence.lease_epoch);
            record.int8(progress.next_offset);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

/// A session found its progress below the floor: counts what is lost and goes on at the floor. Answers the floor.
pub async fn skip_truncated(
    db: &impl Client,
    organization: OrganizationId,
    group: GroupId,
    partition: PartitionId,
    session: Uuid,
    lease_epoch: i64,
) -> Result<Option<i64>> {
    let row = db
        .query_one(
            "select eventflow.skip_truncated_v1($1, $2, $3, $4, $5)",
            &[&organization.0, &group.0, &partition.0, &session, &lease_epoch],
        )
        .await
        .map_err(from_postgres)?;
    row.try_get(0).map_err(Error::internal)
}
