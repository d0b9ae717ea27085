//! One of the fifty: lives a while as a member, ends in one way or another, comes back.

use super::{Ending, World};
use crate::support::Clients;
use crate::support::member::{Member, progress};
use eventflow_proto::EventBatch;
use eventflow_proto::v1::{self, subscribe_response::Frame};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};
use tonic::Status;

pub(super) struct Actor<'a> {
    name: String,
    chance: StdRng,
    doors: [Clients; 2],
    world: &'a World,
}

impl<'a> Actor<'a> {
    pub(super) fn new(number: usize, seed: u64, doors: [Clients; 2], world: &'a World) -> Self {
        let chance = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        Self { name: format!("member-{number}"), chance, doors, world }
    }

    pub(super) async fn run(mut self) {
        self.pass(0..2_000).await;
        let mut member = None;
        while !self.world.over.is_cancelled() {
            let mut now = match member.take() {
                Some(member) => member,
                None => self.join().await,
            };
            self.live(&mut now).await;
            match self.chance.random_range(0..10) {
                0..4 => {
                    let session = now.session.session_id.clone();
                    now.leave().await;
                    self.ended(&session, Ending::Left, "left");
                    self.pass(0..2_000).await;
                }
                4..7 => {
                    self.breaks(now, "broke");
                    // Often longer than the grace.
                    self.pass(0..6_000).await;
                }
                // The same name again: at once, or while the old stream still stands.
                7..9 => {
                    self.breaks(now, "came back");
                    member = Some(self.join().await);
                }
                _ => {
                    member = Some(self.join().await);
                    self.breaks(now, "took over");
                }
            }
        }
        if let Some(member) = member {
            self.breaks(member, "broke");
        }
    }

    async fn join(&mut self) -> Member {
        let door = self.chance.random_range(0..2);
        let member = Member::join(&self.doors[door], "billing", &self.name).await;
        let member = member.unwrap_or_else(|status| panic!("`{}` could not join: {status:?}", self.name));
        self.world.told().present += 1;
        member
    }

    fn breaks(&self, member: Member, how: &'static str) {
        let session = member.session.session_id.clone();
        drop(member);
        self.ended(&session, Ending::Broken, how);
    }

    fn ended(&self, session: &str, ending: Ending, how: &'static str) {
        let mut told = self.world.told();
        told.ended.insert(session.to_owned(), (ending, Instant::now()));
        told.present -= 1;
        *told.lives.entry(how).or_default() += 1;
    }

    /// Takes what comes for a while. Some are slow to commit, so that drains meet their deadline.
    async fn live(&mut self, member: &mut Member) {
        let end = tokio::time::Instant::now() + Duration::from_millis(self.chance.random_range(50..4_000));
        let lazy = self.chance.random_bool(0.2);
        loop {
            let taken = tokio::select! {
                taken = next_frame(member, self.world) => taken,
                () = tokio::time::sleep_until(end) => return, // poll: the end of this life
                () = self.world.over.cancelled() => return,
            };
            match taken.unwrap_or_else(|status| panic!("`{}` was thrown out: {status:?}", self.name)) {
                Some(batch) if !lazy => commit(member, &batch).await,
                _ => {}
            }
        }
    }

    async fn pass(&mut self, milliseconds: std::ops::Range<u64>) {
        let time = Duration::from_millis(self.chance.random_range(milliseconds));
        tokio::select! {
            () = tokio::time::sleep(time) => {} // poll: the actor is away
            () = self.world.over.cancelled() => {}
        }
    }
}

/// Takes a frame and commits what it brought.
pub(super) async fn take_frame(member: &mut Member, world: &World) -> Result<(), Status> {
    if let Some(batch) = next_frame(member, world).await? {
        commit(member, &batch).await;
    }
    Ok(())
}

/// The next frame; what it says about leases and events is compared with what everybody else was told. Cancel-safe.
async fn next_frame(member: &mut Member, world: &World) -> Result<Option<EventBatch>, Status> {
    let before = member.held.clone();
    let frame = member.next().await?;
    let session = member.session.session_id.clone();
    let mut told = world.told();
    let mut lease_of = |lease: &v1::AssignedPartition| {
        told.owns((lease.partition, lease.log_epoch, lease.lease_epoch), &session);
    };
    match frame {
        Frame::Assigned(assigned) => assigned.partitions.iter().for_each(lease_of),
        Frame::Repositioned(moved) => lease_of(&moved.partition.expect("a lease")),
        Frame::Batch(batch) => {
            let batch = batch.head;
            told.owns((batch.partition, batch.log_epoch, batch.lease_epoch), &session);
            let held = before.get(&batch.partition).unwrap_or_else(|| panic!("a batch of what is not held: {batch:?}"));
            assert_eq!(held.lease_epoch, batch.lease_epoch, "under the lease that was told");
            assert_eq!(held.next_offset, batch.base_offset, "in order and without a hole");
            told.delivered.entry(batch.partition).or_default().extend(batch.base_offset..batch.next_offset);
            // The member's own place, for the next batch.
            if let Some(held) = member.held.get_mut(&batch.partition) {
                held.next_offset = batch.next_offset;
            }
            return Ok(Some(batch));
        }
        _ => {}
    }
    Ok(None)
}

/// Commits a batch; a lease that is over meanwhile is nobody's fault.
async fn commit(member: &mut Member, batch: &EventBatch) {
    let lease = member.held[&batch.partition];
    if member.send(progress(lease, batch.next_offset)).await.is_err() {
        return;
    }
    let Ok(answer) = member.answer().await else { return };
    match (&answer.results[0].error, answer.results[0].committed_offset) {
        // Seek-fenced: it went, and has come back to the same session since.
        (Some(error), _) => assert!(matches!(error.reason.as_str(), "MEMBER_FENCED" | "SEEK_FENCED"), "{error:?}"),
        (None, committed) => assert!(committed >= Some(batch.next_offset)),
    }
}
