//! What becomes of single events of shared groups: S14, the part of S9 that is about them, and L1.
//!
//! Deliveries are compared by rank, not by time: what waited in a network, or in a broker that was paused, comes late. A claim of
//! a partition has a higher epoch than the one before, a retry comes after every claim, and each time that it is taken its epoch
//! grows. So who has a lower rank had the event before.

use std::collections::HashMap;

use super::coverage::Steps;
use super::findings::Findings;
use super::log::{Log, Partition};
use super::sent::Packed;
use crate::history::{
    Claim, Dealt, Deliver, FailedAttempt, Key, Left, Micros, Outcome, Record, Said, Settle, Setup, token,
};

/// How a failed attempt is called that a member of the workload failed.
pub(super) const BY_WORD: &str = "chaos";
/// A stream that ended without a leave.
const BY_LOSS: &str = "stream_lost";
const BY_DEADLINE: &str = "deadline";
/// The newest attempts are kept, so many.
const HISTORY: u32 = 20;
/// A session that ended so was told by its broker that it is over, so nothing that it held may count as failed.
const UNCOUNTED: [&str; 3] = ["the stream ended", "BROKER_DRAINING", "SESSION_EXPIRED"];

/// Whether it was a retry, and under which epoch.
pub(super) type Rank = (bool, u64);

/// One delivery of an event.
#[derive(Debug, Clone, Copy)]
struct Given<'a> {
    rank: Rank,
    t: Micros,
    s: u32,
    attempt: u32,
    class: &'a str,
    reason: &'a str,
}

/// Everything that is known of an event in a group.
#[derive(Default)]
struct Story<'a> {
    given: Vec<Given<'a>>,
    said: Vec<&'a Settle>,
    left: Vec<&'a Left>,
}

pub(super) fn dealt_rank(dealt: &Dealt) -> Rank {
    (dealt.attempt > 1 || dealt.again, dealt.epoch)
}

pub(super) fn rank(settle: &Settle) -> Rank {
    (settle.attempt > 1 || settle.again, settle.epoch)
}

/// Which event.
type Id = (u16, Key, i64);

/// How the sessions of a member ended, as far as they did.
type Ends<'a> = HashMap<(u16, &'a str), Vec<Option<&'a str>>>;

struct Stories<'a> {
    setup: &'a Setup,
    stories: HashMap<Id, Story<'a>>,
    ends: Ends<'a>,
    steps: Steps,
}

pub fn check(records: &[Record], setup: &Setup, log: &Log, findings: &mut Findings) {
    let stories = Stories::gather(records, setup);
    for (id, story) in &stories.stories {
        two_dead_letters(*id, story, findings);
        // What was confirmed may be lost with the end of the log.
        if !setup.loss_allowed {
            stories.event(*id, story, findings);
        }
        copies(*id, story, log, findings);
    }
    if !setup.loss_allowed {
        stories.done(records, log, findings);
    }
}

impl<'a> Stories<'a> {
    fn gather(records: &'a [Record], setup: &'a Setup) -> Stories<'a> {
        let mut stories: HashMap<Id, Story<'_>> = HashMap::new();
        let (mut names, mut reasons) = (HashMap::<u32, &str>::new(), HashMap::<u32, &str>::new());
        let mut ends = Ends::new();
        for record in records {
            match record {
                Record::Deliver(deliver) => given(deliver).for_each(|(off, given)| {
                    stories.entry((deliver.g, deliver.k, off)).or_default().given.push(given);
                }),
                Record::Settle(settle) => (settle.off..settle.off + i64::from(settle.count)).for_each(|off| {
                    stories.entry((settle.g, settle.k, off)).or_default().said.push(settle);
                }),
                Record::Left(left) => stories.entry((left.g, left.k, left.off)).or_default().left.push(left),
                Record::Ended(ended) => drop(reasons.insert(ended.s, &ended.reason)),
                Record::Seat(seat) => drop(names.insert(seat.s, &seat.name)),
                _ => {}
            }
        }
        for record in records {
            if let Record::Seat(seat) = record {
                ends.entry((seat.g, names[&seat.s])).or_default().push(reasons.get(&seat.s).copied());
            }
        }
        for story in stories.values_mut() {
            story.given.sort_by_key(|given| given.rank);
        }
        Stories { setup, stories, ends, steps: Steps::of(records) }
    }

    /// S14 of one event.
    fn event(&self, id: Id, story: &Story<'_>, findings: &mut Findings) {
        let Some(max) = self.setup.groups.get(usize::from(id.0)).and_then(|group| group.shared) else { return };
        let mut wrong = |text: String| findings.add("S14", || format!("{:?} {}: {text}", id.1, id.2));
        attempts(story, max, &mut wrong);
        for said in story.said.iter().filter(|said| said.outcome == Outcome::Ok) {
            if said.verdict == Said::Extend {
                self.extended(story, said, &mut wrong);
            } else {
                confirmed(story, said, max, &mut wrong);
            }
        }
        for left in &story.left {
            self.history(id.0, story, left, max, &mut wrong);
        }
    }

    /// Who was given more time has it. In calm: a broker that does not know that its claim went to another gives time that nobody has.
    fn extended(&self, story: &Story<'_>, said: &Settle, wrong: &mut impl FnMut(String)) {
        let early = |given: &&Given<'_>| {
            given.class == BY_DEADLINE && given.attempt == said.attempt + 1 && given.t < said.t0 + said.by
        };
        if self.steps.is_calm(said.t0)
            && let Some(given) = story.given.iter().find(early)
        {
            wrong(format!(
                "session {} was given more time, and before it was over attempt {} came to session {}",
                said.s, given.attempt, given.s
            ));
        }
    }

    /// What is kept of the failed attempts of an event: each was one, in order, and none is missing.
    fn history(&self, g: u16, story: &Story<'_>, left: &Left, max: u32, wrong: &mut impl FnMut(String)) {
        let what = if left.dead { "dead letter" } else { "retry" };
        let oldest = left.attempts.saturating_sub(HISTORY);
        let numbers: Vec<u32> = left.history.iter().map(|failed| failed.attempt).collect();
        if numbers != (oldest + 1..=left.attempts).collect::<Vec<_>>() {
            wrong(format!("a {what} after {} attempts keeps attempts {numbers:?}", left.attempts));
        }
        for failed in &left.history {
            let by_word = failed.class == BY_WORD && !was_said(story, failed.attempt, &failed.reason);
            let by_loss = failed.class == BY_LOSS && !self.may_be_lost(g, &failed.member);
            if by_word || by_loss {
                wrong(format!("a {what} counts what never failed: {failed:?}"));
            }
        }
        let is_kept = |said: &&&Settle| {
            let fails =
                |failed: &FailedAttempt| failed.attempt == said.attempt && failed.reason == token(said.s, said.attempt);
            left.history.iter().any(fails)
        };
        let failed = story.said.iter().filter(|said| {
            said.outcome == Outcome::Ok && matches!(said.verdict, Said::Nack | Said::GiveUp) && said.attempt > oldest
        });
        for said in failed.filter(|said| !is_kept(said)) {
            wrong(format!("a {what} does not count what session {} said of attempt {}", said.s, said.attempt));
        }
        let gave_up = |said: &&Settle| said.verdict == Said::GiveUp && said.outcome != Outcome::Fail;
        if left.dead && left.attempts < max && !story.said.iter().any(gave_up) {
            wrong(format!("a dead letter after {} of {max} attempts, and nobody gave it up", left.attempts));
        }
    }

    /// A session of that member may have ended without a leave, as far as anybody can tell.
    fn may_be_lost(&self, g: u16, member: &str) -> bool {
        let is_lost = |end: &Option<&str>| end.is_none_or(|reason| !UNCOUNTED.contains(&reason));
        self.ends.get(&(g, member)).is_some_and(|ends| ends.iter().any(is_lost))
    }

    /// S9: what is done was acknowledged, or is dead, or waits for another attempt. L1: at the end, everything is done.
    fn done(&self, records: &[Record], log: &Log, findings: &mut Findings) {
        let is_drained = self.steps.drained.is_some();
        let mut claims: HashMap<(u16, Key), Vec<&Claim>> = HashMap::new();
        for record in records {
            if let Record::Claim(claim) = record {
                claims.entry((claim.g, claim.k)).or_default().push(claim);
            }
        }
        for record in records {
            let Record::Progress(progress) = record else { continue };
            let (g, k) = (progress.g, progress.k);
            let Some(group) = self.setup.groups.get(usize::from(g)).filter(|group| group.shared.is_some()) else {
                continue;
            };
            let Some(partition) = log.partitions.get(&k) else { continue };
            let claims = claims.get(&(g, k)).map_or(&[][..], Vec::as_slice);
            self.resolved(g, k, (progress.off, claims), partition, findings);
            let open = partition.len().saturating_sub(partition.dense(progress.off));
            if is_drained && open > 0 {
                findings.add("L1", || format!("group {} stands {open} events before the end of {k:?}", group.name));
            }
        }
        if is_drained {
            let waits = self.stories.iter().filter(|(_, story)| story.left.iter().any(|left| !left.dead));
            for ((g, k, off), _) in waits {
                findings.add("L1", || format!("{k:?} {off} still waits for another attempt in group {g}"));
            }
        }
    }

    fn resolved(
        &self,
        g: u16,
        k: Key,
        (progress, claims): (i64, &[&Claim]),
        partition: &Partition,
        findings: &mut Findings,
    ) {
        let is_done = |off: i64| {
            let done = |claim: &&Claim| claim.done.iter().any(|(from, to)| (*from..*to).contains(&off));
            off < progress || claims.iter().any(done)
        };
        for (off, value) in partition.iter().filter(|(off, _)| is_done(*off)) {
            let story = self.stories.get(&(g, k, off));
            let acked =
                |said: &&Settle| said.verdict == Said::Ack && matches!(said.outcome, Outcome::Ok | Outcome::Info);
            let is_resolved = story.is_some_and(|story| !story.left.is_empty() || story.said.iter().any(acked));
            if !is_resolved {
                findings.add("S9", || {
                    format!("{value} at {k:?} {off} is done in group {g}; nobody acknowledged it, and it is neither dead nor tried again")
                });
            }
        }
    }
}

/// The events of a delivery of a shared group.
fn given(deliver: &Deliver) -> impl Iterator<Item = (i64, Given<'_>)> {
    let count = crate::history::events(&deliver.runs) as i64;
    deliver.dealt.iter().flat_map(move |dealt| {
        let given = Given {
            rank: dealt_rank(dealt),
            t: deliver.t,
            s: deliver.s,
            attempt: dealt.attempt,
            class: &dealt.class,
            reason: &dealt.reason,
        };
        (deliver.off..deliver.off + count).map(move |off| (off, given))
    })
}

fn two_dead_letters((g, k, off): Id, story: &Story<'_>, findings: &mut Findings) {
    let dead = story.left.iter().filter(|left| left.dead).count();
    if dead > 1 {
        findings.add("S14", || format!("{k:?} {off} is {dead} dead letters of group {g}"));
    }
    if dead > 0 && dead < story.left.len() {
        findings.add("S14", || format!("{k:?} {off} is a dead letter of group {g}, and waits for another attempt"));
    }
}

/// The copy that is kept of an event is the event.
fn copies((_, k, off): Id, story: &Story<'_>, log: &Log, findings: &mut Findings) {
    for left in &story.left {
        for bad in &left.bad {
            findings.add("S4", || format!("the copy of {k:?} {off} is damaged: {}", bad.1));
        }
        let kept = left.runs.first().map(|run| Packed::new(run.0, run.1));
        let stored = log.partitions.get(&k).and_then(|partition| partition.at(off));
        if let (Some(kept), Some(stored)) = (kept, stored)
            && kept != stored
            && kept.is_readable()
        {
            findings.add("S4", || format!("the copy of {k:?} {off} is {kept}, and {stored} stands there"));
        }
    }
}

/// Attempts count up, one by one, each for a reason.
fn attempts(story: &Story<'_>, max: u32, wrong: &mut impl FnMut(String)) {
    for pair in story.given.windows(2) {
        if pair[1].attempt < pair[0].attempt {
            wrong(format!("attempt {} was followed by attempt {}", pair[0].attempt, pair[1].attempt));
        }
    }
    for given in story.given.iter().filter(|given| given.attempt > 1) {
        if given.class == BY_WORD && !was_said(story, given.attempt - 1, given.reason) {
            wrong(format!("attempt {} came because of what nobody said: {}", given.attempt, given.reason));
        }
        // What only lost streams have charged is tried once more, alone.
        let last = if given.class == BY_LOSS { max + 1 } else { max };
        if given.attempt > last {
            wrong(format!("attempt {} of {max} came, after {}", given.attempt, given.class));
        }
    }
}

/// Whether somebody said of an attempt that it failed, and was not refused.
fn was_said(story: &Story<'_>, attempt: u32, reason: &str) -> bool {
    story.said.iter().any(|said| {
        said.attempt == attempt
            && said.outcome != Outcome::Fail
            && matches!(said.verdict, Said::Nack | Said::GiveUp)
            && token(said.s, attempt) == reason
    })
}

/// What was confirmed of an event stands.
fn confirmed(story: &Story<'_>, said: &Settle, max: u32, wrong: &mut impl FnMut(String)) {
    let who = |given: &Given<'_>| format!("attempt {} came to session {}", given.attempt, given.s);
    let mut later = story.given.iter().filter(|given| given.rank > rank(said));
    let at = format!("session {} at attempt {}", said.s, said.attempt);
    if let Some(given) = story.given.iter().find(|given| given.rank > rank(said) && given.t < said.t0) {
        wrong(format!("{at} settled it when it was another's already: {}", who(given)));
    }
    let is_other = |other: &&&Settle| {
        other.outcome == Outcome::Ok && other.verdict != Said::Extend && other.attempt == said.attempt
    };
    if story.said.iter().filter(is_other).count() > 1 {
        wrong(format!("attempt {} was settled twice", said.attempt));
    }
    let dead = story.left.iter().filter(|left| left.dead).count();
    match said.verdict {
        Said::Ack => {
            if let Some(given) = later.next() {
                wrong(format!("{at} acknowledged it, and then {}", who(given)));
            }
            if let Some(left) = story.left.first() {
                let what = if left.dead { "is a dead letter" } else { "waits for another attempt" };
                wrong(format!("{at} acknowledged it, and it {what}"));
            }
        }
        Said::Nack if said.attempt < max => {
            if let Some(given) = later.find(|given| given.attempt <= said.attempt) {
                wrong(format!("{at} failed it, and then {}, as if that had not been", who(given)));
            }
        }
        _ => {
            if let Some(given) = later.next() {
                wrong(format!("{at} failed it for the last time, and then {}", who(given)));
            }
            if dead != 1 {
                wrong(format!("{at} failed it for the last time, and there are {dead} dead letters of it"));
            }
        }
    }
}
