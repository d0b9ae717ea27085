//! The order of keys in shared groups that keep it: S23.
//!
//! Of a key, an event comes when all before it are settled: acknowledged, or failed for the last time. An acknowledgement frees its
//! key when it is said, so what a member sent may count, whether it was confirmed or not. So may one that the database refused because
//! the broker had lost the claim by then: what stands behind it was on its way already. What the broker itself refused may not. One
//! that was lost, or fenced, brings the key back from there on; then the event must be settled again, before what stands behind it
//! comes again.
//!
//! All clients have one clock, so whoever got an event got it after the word that let it go was sent. The other way round proves
//! nothing: what waits in a network comes late. So what came again is compared by epochs, as in `outcomes.rs`, or within one
//! session, whose stream has the order of its broker.

use std::collections::HashMap;

use super::findings::Findings;
use super::log::Log;
use super::outcomes::{BY_WORD, Rank, dealt_rank, rank};
use super::sent::{Packed, Sent};
use super::totals::Totals;
use crate::history::{
    Deliver, Key, Left, Micros, Outcome, ProducerKind, Record, Said, Settle, Setup, event_key, events,
};

/// One delivery of an event.
#[derive(Debug, Clone, Copy)]
struct Came {
    rank: Rank,
    t: Micros,
    s: u32,
    /// Its place in the history.
    at: usize,
}

/// What may have let go what stands behind an event.
#[derive(Debug, Clone, Copy)]
struct Word {
    rank: Rank,
    t0: Micros,
}

/// What is known of an event in a group.
#[derive(Debug, Default)]
struct Story {
    off: i64,
    came: Vec<Came>,
    words: Vec<Word>,
    /// It is dead, and nobody said the last word: a deadline passed, or a stream was lost.
    died_silently: bool,
}

impl Story {
    /// When the first word was sent that settles it.
    fn first_word(&self) -> Option<Micros> {
        self.words.iter().map(|word| word.t0).min()
    }

    /// When it was settled, however it came: after each delivery, by the first word on it or on a later one. Never: `None`.
    fn all_settled(&self) -> Option<Micros> {
        if self.died_silently {
            return Some(0);
        }
        let settled = |came: &Came| self.words.iter().filter(|word| word.rank >= came.rank).map(|word| word.t0).min();
        self.came.iter().map(settled).try_fold(0, |latest, settled| Some(latest.max(settled?)))
    }

    /// Whether it may have been settled, as it came then or later, by a word before that time.
    fn is_settled(&self, since: Rank, before: Micros) -> bool {
        self.died_silently || self.words.iter().any(|word| word.rank >= since && word.t0 < before)
    }
}

type Stories = HashMap<(u16, Key, i64), Story>;

pub fn check(records: &[Record], setup: &Setup, sent: &Sent, log: &Log, totals: &mut Totals, findings: &mut Findings) {
    let mut stories = gather(records, setup, totals);
    for (g, group) in (0..).zip(&setup.groups).filter(|(_, group)| group.key_order) {
        for (k, partition) in log.partitions.iter().filter(|(k, _)| k.0 == group.stream) {
            let mut keys: HashMap<(u32, u64), Vec<Story>> = HashMap::new();
            for (off, value) in partition.iter().filter(|(_, value)| has_key(sent, *value)) {
                let story = stories.remove(&(g, *k, off)).unwrap_or_default();
                keys.entry(event_key(value.producer(), value.number())).or_default().push(Story { off, ..story });
            }
            // Where the end of the log may be lost, so may be what was said.
            for key in keys.values().filter(|_| !setup.loss_allowed) {
                let mut wrong = |text: String| findings.add("S23", || format!("group {}, {k:?}: {text}", group.name));
                firsts(key, &mut wrong);
                again(key, &mut wrong);
            }
        }
    }
}

fn has_key(sent: &Sent, value: Packed) -> bool {
    value.is_readable() && sent.senders.get(&value.producer()).is_some_and(|sender| sender.kind == ProducerKind::Keyed)
}

fn gather(records: &[Record], setup: &Setup, totals: &mut Totals) -> Stories {
    let mut stories = Stories::new();
    let attempts =
        |g: u16| setup.groups.get(usize::from(g)).filter(|group| group.key_order).and_then(|group| group.shared);
    for (at, record) in records.iter().enumerate() {
        match record {
            Record::Deliver(Deliver { g, s, k, t, off, runs, dealt: Some(dealt), .. }) if attempts(*g).is_some() => {
                let came = Came { rank: dealt_rank(dealt), t: *t, s: *s, at };
                totals.waited += u64::from(dealt.again && dealt.attempt == 1);
                for off in *off..*off + events(runs) as i64 {
                    stories.entry((*g, *k, off)).or_default().came.push(came);
                }
            }
            Record::Settle(settle) if attempts(settle.g).is_some_and(|max| lets_go(settle, max)) => {
                let word = Word { rank: rank(settle), t0: settle.t0 };
                for off in settle.off..settle.off + i64::from(settle.count) {
                    stories.entry((settle.g, settle.k, off)).or_default().words.push(word);
                }
            }
            Record::Left(left) if left.dead && attempts(left.g).is_some() => {
                stories.entry((left.g, left.k, left.off)).or_default().died_silently = is_silent(left);
            }
            _ => {}
        }
    }
    stories
}

/// Whether a word may have settled an event for good.
fn lets_go(settle: &Settle, max: u32) -> bool {
    let is_last = match settle.verdict {
        Said::Ack | Said::GiveUp => true,
        Said::Nack => settle.attempt >= max,
        Said::Extend => false,
    };
    // Fenced by the database: its broker had let the key go, and did not know yet that the claim was another's.
    is_last && (settle.outcome != Outcome::Fail || settle.reason == "MEMBER_FENCED")
}

fn is_silent(left: &Left) -> bool {
    left.history.last().is_some_and(|failed| failed.class != BY_WORD)
}

/// Nobody gets, or settles, an event of a key before all that stand before it may have been settled.
fn firsts(key: &[Story], wrong: &mut impl FnMut(String)) {
    // The latest of those before, and when the first word was sent that settles it: never, of one that nobody settled.
    let mut held: Option<(i64, Option<Micros>)> = None;
    for story in key {
        let seen = story.came.iter().map(|came| came.t).chain(story.first_word()).min();
        if let (Some(seen), Some((before, word))) = (seen, held)
            && word.is_none_or(|word| word >= seen)
        {
            wrong(format!("{} came at {seen}, and {before}, which is before it, {}", story.off, unsettled(word)));
        }
        let word = story.first_word().or(story.died_silently.then_some(0));
        if held.is_none_or(|(_, latest)| latest.is_some_and(|latest| word.is_none_or(|word| word > latest))) {
            held = Some((story.off, word));
        }
    }
}

fn unsettled(word: Option<Micros>) -> String {
    word.map_or_else(|| "was never settled".to_owned(), |word| format!("was settled only at {word}"))
}

/// Nobody gets an event of a key again while one before it, which came again as well, is not settled again.
fn again(key: &[Story], wrong: &mut impl FnMut(String)) {
    // When all before were settled, however they came: whatever came later needs no closer look.
    let mut all_settled = Some(0);
    for (index, later) in key.iter().enumerate() {
        for came in later.came.iter().filter(|came| all_settled.is_none_or(|settled| settled >= came.t)) {
            let before = key[..index].iter().flat_map(|story| story.came.iter().map(move |first| (story, first)));
            let open = before.filter(|(story, first)| precedes(first, came) && !story.is_settled(first.rank, came.t));
            for (story, first) in open {
                wrong(format!(
                    "{} came to session {} while {}, which is before it, was with session {} and not settled",
                    later.off, came.s, story.off, first.s
                ));
            }
        }
        all_settled = all_settled.zip(later.all_settled()).map(|(before, this)| before.max(this));
    }
}

/// Whether a delivery is known to have been sent before one of a later event: both are of claims, of which one is not later than the
/// other and events stand in order, or both went by one stream.
fn precedes(first: &Came, later: &Came) -> bool {
    let by_claims = !first.rank.0 && !later.rank.0 && first.rank.1 <= later.rank.1;
    by_claims || (first.s == later.s && first.at < later.at)
}
