//! Why a group's event is, or is not, delivered: the first true reason. Pure: what is known is gathered elsewhere.

use crate::domain::group::{ConsumerGroup, DeliveryMode, OnTruncated};
use uuid::Uuid;

/// What is stored about one event of one group, from one snapshot. Times are microseconds since 1970, database time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub now: i64,
    pub floor: i64,
    pub head: i64,
    /// Where the group began, or was last moved to; None: at the floor.
    pub start: Option<i64>,
    /// Everything below is done.
    pub next: i64,
    /// In a shared group: nobody has claimed anything from here on.
    pub claimed_to: Option<i64>,
    pub paused: bool,
    /// Those that are connected.
    pub members: u64,
    /// In an ordered group: who holds the partition, and where its session lives.
    pub holder: Option<String>,
    pub session: Option<Uuid>,
    pub holder_at: Option<AtBroker>,
    /// The event that is retried in place: its offset, failed attempts, and when it is due.
    pub in_place: Option<(i64, u32, i64)>,
    /// In a claim, and not done.
    pub is_claimed: bool,
    /// Who hands that claim out.
    pub claim_at: Option<AtBroker>,
    pub retry: Option<Retrying>,
    pub dead: Option<DeadLettered>,
    /// When it was published for. None: at once.
    pub deliver_at: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtBroker {
    pub id: Uuid,
    pub name: String,
    pub address: String,
}

/// The event failed, and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retrying {
    pub failed: u32,
    pub due_at: i64,
    pub in_place: bool,
    /// A broker has taken it.
    pub is_held: bool,
    pub at: Option<AtBroker>,
    /// Of the attempt before.
    pub member: String,
    pub reason: String,
    pub error_class: String,
    /// It waits for an earlier event of its key, which is this one.
    pub is_parked: bool,
    pub behind: Option<i64>,
}

/// The group gave the event up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLettered {
    pub attempts: u32,
    pub at: i64,
    pub member: String,
    pub reason: String,
    pub error_class: String,
}

/// What the log has at the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// Nothing: it is not appended yet, or lies between two log epochs.
    Nothing,
    /// Retention or a purge took it.
    Removed,
    Matching,
    /// The group's filter leaves it out.
    Filtered,
}

/// What this broker knows besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// This broker's incarnation.
    pub broker: Uuid,
    pub flight: Option<Flown>,
    /// Nobody here may get more before something is settled.
    pub is_full: bool,
    /// Where keys are in order: the event of its key that comes first, and the one for which so much waits that nothing is looked at.
    pub behind: Option<i64>,
    pub backlog: Option<i64>,
}

/// A member of this broker has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flown {
    pub member: String,
    /// When it left the broker. None: it waits for the member to read; or, in order, nobody keeps it.
    pub since: Option<i64>,
    /// By when it must be settled. None: there is no deadline, or it has not left.
    pub until: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    NotAppended,
    Removed,
    BeforeStart,
    Filtered,
    Done,
    DeadLettered,
    InFlight,
    RetryWaiting,
    BehindRetry,
    WindowFull,
    Paused,
    NoMembers,
    WaitsForSeek,
    AtOtherBroker,
    BehindKey,
    KeyBacklog,
    Delayed,
    #[default]
    Waiting,
}

/// The first true reason, with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    /// For people.
    pub sentence: String,
    pub member: String,
    pub broker: Option<AtBroker>,
    pub since: Option<i64>,
    pub until: Option<i64>,
    /// The attempt that runs or comes next; of a dead letter, how many there were.
    pub attempt: u32,
    pub reason: String,
    pub error_class: String,
    /// The event that it waits behind.
    pub behind: Option<i64>,
}

/// See the module.
pub fn explain(group: &ConsumerGroup, offset: i64, facts: &Facts, logged: Logged, here: &Here) -> Explanation {
    failed(offset, facts, here)
        .or_else(|| passed(group, offset, facts, logged))
        .or_else(|| flying(group, facts, here))
        .or_else(|| held_up(group, offset, facts, here))
        .unwrap_or_else(|| waiting(group, offset, facts))
}

fn say(verdict: Verdict, sentence: String) -> Explanation {
    Explanation { verdict, sentence, ..Explanation::default() }
}

/// It failed before: a dead letter, or on its way to another attempt.
fn failed(offset: i64, facts: &Facts, here: &Here) -> Option<Explanation> {
    if let Some(dead) = &facts.dead {
        let sentence = format!(
            "a dead letter since it failed {} times, last with `{}`: {}",
            dead.attempts, dead.member, dead.reason
        );
        return Some(Explanation {
            member: dead.member.clone(),
            since: Some(dead.at),
            attempt: dead.attempts,
            reason: dead.reason.clone(),
            error_class: dead.error_class.clone(),
            ..say(Verdict::DeadLettered, sentence)
        });
    }
    let retry = facts.retry.as_ref()?;
    if retry.is_parked {
        return Some(behind_key(retry.behind));
    }
    let attempt = retry.failed + 1;
    let found = if let Some(flight) = &here.flight {
        in_flight(flight, attempt)
    } else if let Some(other) = elsewhere(retry.at.as_ref(), here)
        .or_else(|| elsewhere(facts.holder_at.as_ref().filter(|_| retry.in_place && retry.due_at <= facts.now), here))
    {
        other
    } else {
        let due = retry.due_at <= facts.now;
        let stopped = due.then(|| stopped(facts)).flatten().or_else(|| full(facts, here).filter(|_| due));
        stopped.unwrap_or_else(|| {
            if !due && retry.failed == 0 {
                return delayed(retry.due_at);
            }
            let sentence = match due {
                true => format!("attempt {attempt} is due, and the next member that has room gets it"),
                false => format!("attempt {attempt} waits for its back-off"),
            };
            Explanation { until: Some(retry.due_at), ..say(Verdict::RetryWaiting, sentence) }
        })
    };
    let behind = found.behind.filter(|behind| *behind != offset);
    let member = if found.member.is_empty() { retry.member.clone() } else { found.member };
    let (reason, error_class) = (retry.reason.clone(), retry.error_class.clone());
    Some(Explanation { attempt, member, reason, error_class, behind, ..found })
}

/// The group has nothing more to do with it, or never had.
fn passed(group: &ConsumerGroup, offset: i64, facts: &Facts, logged: Logged) -> Option<Explanation> {
    let is_done = offset < facts.next
        || (group.mode == DeliveryMode::Shared
            && facts.claimed_to.is_some_and(|claimed| offset < claimed)
            && !facts.is_claimed);
    if let Some(start) = facts.start.filter(|start| offset < *start) {
        let sentence = format!("it lies before offset {start}, where the group began or was last moved to");
        return Some(say(Verdict::BeforeStart, sentence));
    }
    match logged {
        Logged::Nothing => {
            let sentence = format!("no event has this offset; the next one to be appended gets {}", facts.head);
            Some(say(Verdict::NotAppended, sentence))
        }
        Logged::Removed => {
            let had = if is_done { "whether a member had it before is not kept" } else { "no member had it" };
            let sentence =
                format!("retention or a purge removed it, {had}; the first one that is kept is {}", facts.floor);
            Some(say(Verdict::Removed, sentence))
        }
        Logged::Filtered => {
            let sentence = format!("the group's filter (version {}) does not match it", group.filter_version);
            Some(say(Verdict::Filtered, sentence))
        }
        Logged::Matching if is_done => {
            Some(say(Verdict::Done, "it is done: acknowledged, or committed past; by whom is not kept".to_owned()))
        }
        Logged::Matching => None,
    }
}

/// Somebody has it.
fn flying(group: &ConsumerGroup, facts: &Facts, here: &Here) -> Option<Explanation> {
    if let Some(flight) = &here.flight {
        return Some(in_flight(flight, 1));
    }
    match group.mode {
        DeliveryMode::Shared => elsewhere(facts.claim_at.as_ref(), here),
        // What a session of another broker has been sent is known there only.
        DeliveryMode::Ordered if facts.paused => None,
        DeliveryMode::Ordered => {
            let member = facts.holder.clone().unwrap_or_default();
            elsewhere(facts.holder_at.as_ref(), here).map(|found| Explanation { member, ..found })
        }
    }
}

fn in_flight(flight: &Flown, attempt: u32) -> Explanation {
    let member = flight.member.clone();
    let sentence = match flight.until {
        Some(_) => format!("member `{member}` has it and must settle it in time"),
        None => format!("member `{member}` has it, or will when it reads on"),
    };
    Explanation { member, since: flight.since, until: flight.until, attempt, ..say(Verdict::InFlight, sentence) }
}

fn elsewhere(at: Option<&AtBroker>, here: &Here) -> Option<Explanation> {
    let at = at.filter(|at| at.id != here.broker)?;
    let sentence = format!(
        "broker `{}` at `{}` delivers it, and alone knows which of its members has it: ask there",
        at.name, at.address
    );
    Some(Explanation { broker: Some(at.clone()), ..say(Verdict::AtOtherBroker, sentence) })
}

/// Nothing at all is delivered.
fn stopped(facts: &Facts) -> Option<Explanation> {
    if facts.paused {
        return Some(say(Verdict::Paused, "the group is paused: resume it".to_owned()));
    }
    (facts.members == 0).then(|| say(Verdict::NoMembers, "the group has no members: nobody subscribes".to_owned()))
}

fn full(facts: &Facts, here: &Here) -> Option<Explanation> {
    let sentence =
        || "whoever could get it has its window full, or took long before: settle what was delivered".to_owned();
    let member = facts.holder.clone().unwrap_or_default();
    here.is_full.then(|| Explanation { member, ..say(Verdict::WindowFull, sentence()) })
}

/// What keeps delivery from coming to it.
fn held_up(group: &ConsumerGroup, offset: i64, facts: &Facts, here: &Here) -> Option<Explanation> {
    if let Some(at) = facts.deliver_at.filter(|at| group.mode == DeliveryMode::Shared && *at > facts.now) {
        return Some(delayed(at));
    }
    if let Some(stopped) = stopped(facts) {
        return Some(stopped);
    }
    if group.on_truncated == OnTruncated::Stop && facts.next < facts.floor {
        let sentence = format!("events from {} on were removed unread, and the group waits for a seek", facts.next);
        return Some(say(Verdict::WaitsForSeek, sentence));
    }
    if let Some((behind, failed, due)) = facts.in_place.filter(|(behind, ..)| *behind < offset) {
        let sentence = format!("event {behind} failed {failed} times and is tried again before anything behind it");
        let attempt = failed + 1;
        let behind = Some(behind);
        return Some(Explanation { behind, attempt, until: Some(due), ..say(Verdict::BehindRetry, sentence) });
    }
    if here.behind.is_some() {
        return Some(behind_key(here.behind));
    }
    if let Some(behind) = here.backlog {
        let sentence = format!(
            "so many events wait for event {behind} of their key that the partition stands still until it is settled"
        );
        return Some(Explanation { behind: Some(behind), ..say(Verdict::KeyBacklog, sentence) });
    }
    full(facts, here)
}

fn delayed(at: i64) -> Explanation {
    Explanation { until: Some(at), ..say(Verdict::Delayed, "it is not due yet".to_owned()) }
}

fn behind_key(behind: Option<i64>) -> Explanation {
    let sentence = match behind {
        Some(behind) => format!("event {behind} of the same key comes first, and is not settled"),
        None => "an earlier event of the same key was settled just now; this one is next".to_owned(),
    };
    Explanation { behind, ..say(Verdict::BehindKey, sentence) }
}

fn waiting(group: &ConsumerGroup, offset: i64, facts: &Facts) -> Explanation {
    let from = match group.mode {
        DeliveryMode::Shared => facts.claimed_to.unwrap_or(facts.next),
        DeliveryMode::Ordered => facts.next,
    };
    let sentence = if group.mode == DeliveryMode::Ordered && facts.holder.is_none() {
        "no member holds the partition at this moment; it is being assigned".to_owned()
    } else {
        format!(
            "its turn comes: delivery stands at {} of its partition, {} before it",
            from.max(facts.floor),
            (offset - from.max(facts.floor)).max(0)
        )
    };
    say(Verdict::Waiting, sentence)
}
