//! What the database says about owners, looked at all the time.

use super::{DRAIN, Ending, GRACE, PARTITIONS, World};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use uuid::Uuid;

const LOOK: Duration = Duration::from_millis(20);

/// Compares `consumer_offset` with what members were told.
pub(super) struct Watch<'a> {
    client: Client,
    world: &'a World,
    places: Vec<Place>,
    /// How long this very test stood still: nobody can ask of the brokers what the machine did not give.
    stood_still: Duration,
}

/// A partition as it was seen last.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    session: Option<Uuid>,
    epoch: i64,
    next_offset: i64,
    orphaned: Option<Orphaned>,
}

/// A partition without a live holder.
#[derive(Clone, Copy, Debug)]
struct Orphaned {
    since: Instant,
    bound: Duration,
    stood_still: Duration,
}

impl<'a> Watch<'a> {
    pub(super) fn new(client: Client, world: &'a World) -> Self {
        Self { client, world, places: vec![Place::default(); PARTITIONS as usize], stood_still: Duration::ZERO }
    }

    /// Looks until the minute is over; answers what was seen, for whoever reads the test's output.
    pub(super) async fn run(mut self) -> String {
        let (mut looks, mut handovers, mut longest) = (0u64, 0u64, Duration::ZERO);
        let mut last = Instant::now();
        while !self.world.over.is_cancelled() {
            tokio::time::sleep(LOOK).await; // poll
            let sql = "select partition_index, session_id, lease_epoch, next_offset from eventflow.consumer_offset";
            let rows = self.client.query(sql, &[]).await.expect("progress");
            let now = Instant::now();
            self.stood_still += (now - last).saturating_sub(LOOK * 5);
            last = now;
            for row in rows {
                let index: i32 = row.get(0);
                let orphan = self.look(index as u32, row.get(1), row.get(2), row.get(3), now, &mut handovers);
                longest = longest.max(orphan);
            }
            looks += 1;
        }
        let excused = self.stood_still;
        format!("{looks} looks, {handovers} hand-overs, {longest:?} at most without a live holder, {excused:?} excused")
    }

    /// One partition's row; answers for how long it has had no live holder.
    fn look(
        &mut self,
        partition: u32,
        session: Option<Uuid>,
        epoch: i64,
        next_offset: i64,
        now: Instant,
        handovers: &mut u64,
    ) -> Duration {
        let mut told = self.world.told();
        let place = &mut self.places[partition as usize];
        assert!(epoch >= place.epoch, "an epoch went back: {place:?}, now {epoch}");
        assert!(next_offset >= place.next_offset, "progress went back: {place:?}, now {next_offset}");
        assert!(
            epoch > place.epoch || session == place.session,
            "another owner in the same epoch: {place:?}, {session:?}"
        );
        if let Some(session) = session {
            told.owns((partition, 0, epoch as u64), &session.to_string());
        }
        let changed = epoch > place.epoch && session.is_some();
        *handovers += u64::from(changed);
        let ended = session.and_then(|session| told.ended.get(&session.to_string()).copied());
        let orphaned = match (session, ended, place.orphaned) {
            (Some(_), None, _) => None,
            // Whoever ended gives its bound; a new holder that has ended as well gives its own.
            (Some(_), Some((ending, at)), old) if changed || old.is_none() => {
                let bound = Duration::from_secs(1) + if ending == Ending::Left { DRAIN } else { GRACE };
                let since = if changed { now } else { at };
                Some(Orphaned { since, bound, stood_still: self.stood_still })
            }
            (None, _, None) => {
                Some(Orphaned { since: now, bound: DRAIN + Duration::from_secs(1), stood_still: self.stood_still })
            }
            (_, _, old) => old,
        };
        *place = Place { session, epoch, next_offset, orphaned };
        let Some(orphaned) = orphaned.filter(|_| told.present > 0) else {
            place.orphaned = None;
            return Duration::ZERO;
        };
        let lasted = now.saturating_duration_since(orphaned.since);
        let excuse = self.stood_still - orphaned.stood_still;
        // bound: drain + 1 s after a leave, grace + 1 s after a broken stream
        assert!(
            lasted <= orphaned.bound + excuse,
            "partition {partition} has had no live holder for {lasted:?}: {place:?}"
        );
        lasted
    }
}
