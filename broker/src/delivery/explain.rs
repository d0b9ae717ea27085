//! Why an event of a group is, or is not, delivered: what is stored, and what sessions and pools of this broker know besides.

use crate::catalogue::Catalogue;
use crate::delivery::control::Control;
use crate::delivery::pool::{Known, Pools};
use crate::delivery::registry::Registry;
use crate::delivery::session::Session;
use crate::domain::Result;
use crate::domain::explanation::{Explanation, Facts, Flown, Here, Logged, explain};
use crate::domain::group::{ConsumerGroup, DeliveryMode, group_not_found};
use crate::domain::ids::{GroupName, PartitionId};
use crate::groups::Trust;
use crate::identity::{Granted, Read};
use crate::runtime::clock::{since_boot, unix_us};
use crate::store::{Pooled, Store, explanations, log};
use tokio::sync::oneshot;

/// What a session knows of a partition that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Everything below was sent.
    pub to: i64,
    pub has_room: bool,
}

/// Says why. Cheap to clone.
#[derive(Clone)]
pub struct Explainer {
    pub catalogue: Catalogue,
    pub store: Store,
    pub registry: Registry,
    pub pools: Pools,
    pub trust: Trust,
}

impl Explainer {
    /// Says what stands in the way of an event, or where it is.
    pub async fn explain(
        &self,
        granted: &Granted<Read>,
        name: &GroupName,
        index: u32,
        offset: i64,
    ) -> Result<Explanation> {
        let group = self.catalogue.group(granted, name).await?;
        let stream = self.catalogue.stream_by_id(granted.organization(), group.stream_id).await?;
        let partition = stream.partition(index)?;
        let db = self.store.conn().await?;
        let facts = explanations::facts(&db, granted.organization(), group.id, partition, offset).await?;
        let mut facts = facts.ok_or_else(|| group_not_found(name.as_str()))?;
        let logged = logged(&db, &group, partition, offset, &mut facts).await?;
        drop(db);
        let here = self.here(&group, &facts, index, offset).await;
        Ok(explain(&group, offset, &facts, logged, &here))
    }

    async fn here(&self, group: &ConsumerGroup, facts: &Facts, index: u32, offset: i64) -> Here {
        let broker = self.trust.incarnation();
        let in_order = group.mode == DeliveryMode::Ordered && facts.retry.as_ref().is_none_or(|retry| retry.in_place);
        if !in_order {
            let Some(known) = self.pools.ask(group.id, broker, index, offset).await else {
                return Here { broker, ..Here::default() };
            };
            let claims = facts.claim_at.as_ref().is_some_and(|at| at.id == broker);
            // Where others have members, they may have room.
            let is_full = known.room == 0 && known.members > 0 && (claims || known.members >= facts.members);
            return Here { broker, flight: flown(&known), is_full, behind: known.behind, backlog: known.full };
        }
        let member = facts.holder.clone().unwrap_or_default();
        match self.sent(facts, index).await {
            None => Here { broker, ..Here::default() },
            Some(sent) => {
                let flight =
                    (offset >= facts.next && offset < sent.to).then_some(Flown { member, since: None, until: None });
                Here { broker, flight, is_full: !sent.has_room, ..Here::default() }
            }
        }
    }

    /// What the holder's session says, when it is here.
    async fn sent(&self, facts: &Facts, partition: u32) -> Option<Sent> {
        let control = self.registry.local(facts.session?)?;
        let (reply, answer) = oneshot::channel();
        control.send(Control::Tell { partition, reply }).await.ok()?;
        answer.await.ok()?
    }
}

impl Session {
    /// What was sent of a partition.
    pub(super) fn tell(&self, partition: u32) -> Option<Sent> {
        let held = self.held.get(&partition)?;
        Some(Sent { to: held.source.next(), has_room: self.window.is_open() })
    }
}

async fn logged(
    db: &Pooled,
    group: &ConsumerGroup,
    partition: PartitionId,
    offset: i64,
    facts: &mut Facts,
) -> Result<Logged> {
    if offset < facts.floor {
        return Ok(Logged::Removed);
    }
    let page = log::read(db, group.organization, partition, offset, 1, 1).await?;
    let batch = page.and_then(|page| page.batches.into_iter().next());
    let Some(batch) = batch.filter(|batch| (batch.base_offset..batch.end_offset()).contains(&offset)) else {
        return Ok(Logged::Nothing);
    };
    let event = batch.encoded.view((offset - batch.base_offset) as usize);
    facts.deliver_at = event.as_ref().and_then(|event| event.deliver_at_us);
    let matches = match (&group.filter, &event) {
        (Some(filter), Some(event)) => filter.matches(event),
        _ => true,
    };
    Ok(if matches { Logged::Matching } else { Logged::Filtered })
}

/// A pool counts from when the machine started.
fn flown(known: &Known) -> Option<Flown> {
    let flight = known.flight.as_ref()?;
    let booted = unix_us() - since_boot().as_micros() as i64;
    let at = |ms: u64| booted + (ms * 1_000).cast_signed();
    Some(Flown { member: flight.member.to_string(), since: flight.since_ms.map(at), until: flight.until_ms.map(at) })
}
