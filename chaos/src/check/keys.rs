//! Keys of two kinds: idempotency keys of events (S15), and credentials that were revoked (S22).

use std::collections::HashMap;

use super::coverage::Steps;
use super::findings::Findings;
use super::log::Log;
use super::sent::Packed;
use crate::history::{Key, Micros, Outcome, Publish, Record, Setup};

/// A key that was revoked is refused everywhere within five seconds; the rest is for a clock that ticks elsewhere.
const REVOKED_BOUND: Micros = 6_000_000;
/// Open streams are looked at once a second, when nothing is broken.
const STREAM_BOUND: Micros = 4_000_000;

/// S15: one event of a key, whoever repeats it; what says something else is refused, and nothing that is new is.
pub fn idempotency(records: &[Record], setup: &Setup, log: &Log, findings: &mut Findings) {
    // A key may be lost with the end of the log.
    if setup.loss_allowed {
        return;
    }
    let mut keys: HashMap<(Key, &str), Vec<&Publish>> = HashMap::new();
    for record in records {
        if let Record::Publish(publish) = record
            && !publish.key.is_empty()
        {
            keys.entry((publish.k, &publish.key)).or_default().push(publish);
        }
    }
    for ((k, key), publishes) in keys {
        let mut said: Vec<(u64, i64)> = publishes
            .iter()
            .filter(|publish| publish.outcome == Outcome::Ok)
            .filter_map(|publish| Some((publish.run.1, publish.at.first()?.0)))
            .collect();
        said.sort_unstable();
        said.dedup();
        if said.len() > 1 {
            findings.add("S15", || format!("key {key} of {k:?} got several answers, of number and offset: {said:?}"));
        }
        let mut numbers: Vec<Packed> =
            publishes.iter().map(|publish| Packed::new(publish.run.0, publish.run.1)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let stored = numbers.iter().filter(|value| log.place(**value).is_some()).count();
        if stored > 1 {
            findings.add("S15", || format!("{stored} events of key {key} stand in {k:?}"));
        }
        for refused in publishes.iter().filter(|publish| publish.reason == "IDEMPOTENCY_KEY_REUSED") {
            let other = |publish: &&&Publish| publish.run.1 != refused.run.1 && publish.outcome != Outcome::Fail;
            if publishes.iter().find(other).is_none() {
                findings.add("S15", || format!("key {key} of {k:?} was refused as reused, and nobody had used it"));
            }
        }
    }
}

/// S22: a key that was revoked opens nothing, and a key that was not is not refused.
pub fn credentials(records: &[Record], setup: &Setup, findings: &mut Findings) {
    let healed = Steps::of(records).healed;
    // When it was first tried, and when it was known to be done.
    let mut revoked: HashMap<u32, (Micros, Option<Micros>)> = HashMap::new();
    for record in records {
        if let Record::Revoke(revoke) = record {
            let known = revoked.entry(revoke.key).or_insert((revoke.t0, None));
            let done = (revoke.outcome == Outcome::Ok).then_some(revoke.t1);
            *known = (known.0.min(revoke.t0), known.1.or(done));
        }
    }
    for record in records {
        let Record::Use(used) = record else { continue };
        let (tried, done) = revoked.get(&used.key).copied().unwrap_or((Micros::MAX, None));
        let is_refused = used.code == "UNAUTHENTICATED";
        if is_refused && used.t1 < tried && !setup.loss_allowed {
            findings.add("S22", || format!("`{}` with key {} was refused before it was revoked", used.call, used.key));
        }
        let Some(done) = done.filter(|_| used.code == "Ok" && !setup.loss_allowed) else { continue };
        // A stream of a broker that sees no database, or does not run, ends when it does.
        let since = if used.call == "stream" {
            healed.map(|healed| done.max(healed + super::coverage::SETTLING) + STREAM_BOUND)
        } else {
            Some(done)
        };
        if since.is_some_and(|since| used.t0 > since + REVOKED_BOUND) {
            findings.add("S22", || {
                format!(
                    "`{}` with key {} went well {} ms after it was revoked",
                    used.call,
                    used.key,
                    (used.t0 - done) / 1_000
                )
            });
        }
    }
}
