//! Many members, and groups for them.

use std::time::Duration;

use eventflow::{Client, GroupSpec, Position};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::until;
use crate::client_side::Follower;
use crate::ground::Ground;
use crate::{Failure, Result};

/// Calls and joins at the same time.
const TOGETHER: usize = 20;
/// Members that share a connection.
const MEMBERS_PER_CONNECTION: usize = 100;
/// How long members may take to agree.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients for so many members.
pub fn clients(ground: &Ground, members: usize) -> Result<Vec<Client>> {
    (0..members.div_ceil(MEMBERS_PER_CONNECTION)).map(|_| ground.client()).collect()
}

/// Groups that read everything of a stream.
pub async fn create_groups(client: &Client, names: &[String], stream: &str) -> Result<()> {
    let groups = client.groups();
    let calls = names.iter().map(|name| groups.create(name, stream, Position::Earliest, GroupSpec::default()));
    stream::iter(calls).buffer_unordered(TOGETHER).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// So many members, spread over groups and clients.
pub async fn join(clients: &[Client], groups: &[String], members: usize) -> Result<Vec<Follower>> {
    let joins = (0..members).map(|number| {
        let consumer = clients[number % clients.len()].consumer(&groups[number % groups.len()]).build();
        async { Ok::<_, Failure>(Follower::start(consumer.await?, |_| {})) }
    });
    stream::iter(joins).buffer_unordered(TOGETHER).try_collect().await
}

/// Until every group has its members, and each partition one of them.
pub async fn settled(client: &Client, groups: &[String], members: usize, partitions: usize) -> Result<()> {
    let each = members / groups.len();
    for group in groups {
        let group_client = client.groups();
        until("agreeing on partitions", PATIENCE, || async {
            let members = group_client.members(group).await?;
            let mut held: Vec<u32> = members.iter().flat_map(|member| member.partitions.iter().copied()).collect();
            held.sort_unstable();
            let share = partitions / each.max(1);
            let fair = members.iter().all(|member| member.connected && member.partitions.len() >= share.min(1));
            Ok(members.len() == each && fair && held.into_iter().eq(0..partitions as u32))
        })
        .await?;
    }
    Ok(())
}
