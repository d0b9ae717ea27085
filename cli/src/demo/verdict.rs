//! What was proven: one line a fact, each with ✓ or ✗.

use std::{collections::HashSet, time::Duration};

use super::{
    catalogue::Catalogue, follow::Group, play::ATTEMPTS, publish::Published, repair::Repaired, tally::Tally, words,
    work::Crew,
};
use crate::{
    failure::{Exit, Failure, Result},
    output::{Output, count, span},
};

/// Everything that the checks look at.
pub(super) struct Verdict {
    pub(super) published: Published,
    pub(super) statistics: Group,
    pub(super) strong: Group,
    pub(super) crew: Crew,
    pub(super) repaired: Repaired,
    pub(super) is_bad_event_refused: bool,
    /// Events that each group is behind, waits to try again, or has given up on.
    pub(super) lag: Vec<(&'static str, i64)>,
}

/// A fact, and what speaks against it.
struct Check {
    fact: String,
    objections: Vec<String>,
}

impl Check {
    fn new(fact: String, objections: Vec<String>) -> Self {
        Self { fact, objections }
    }

    /// The only objection is that the numbers differ.
    fn equal(fact: String, found: usize, expected: usize) -> Self {
        let objection = format!("{} instead of {}", number(found), number(expected));
        let objections = if found == expected { Vec::new() } else { vec![objection] };
        Self { fact, objections }
    }
}

fn number(value: usize) -> String {
    count(value as i128)
}

impl Verdict {
    /// Tells everything; an error when anything does not hold.
    pub(super) fn tell(&self, out: &mut Output, catalogue: &Catalogue, took: Duration) -> Result<()> {
        let (statistics, strong) = (self.statistics.tally(), self.strong.tally());
        words::networks(out, &statistics)?;
        words::strongest(out, strong.strong())?;
        let checks = self.checks(catalogue, &statistics, &strong);
        let paint = out.paint();
        let mut text = String::new();
        for check in &checks {
            text.push_str(&format!("{} {}\n", paint.mark(check.objections.is_empty()), check.fact));
            for objection in &check.objections {
                text.push_str(&format!("    {objection}\n"));
            }
        }
        out.line(text.trim_end())?;
        out.line(self.consequences(&statistics, &strong))?;
        let broken = checks.iter().filter(|check| !check.objections.is_empty()).count();
        if broken == 0 {
            return out.line(paint.strong(format!("\nEverything holds ({}).", span(took))));
        }
        let sentence = format!("{broken} of {} facts do not hold", checks.len());
        Err(Failure::new(Exit::Error, "DEMO_FAILED", sentence))
    }

    fn checks(&self, catalogue: &Catalogue, statistics: &Tally, strong: &Tally) -> Vec<Check> {
        let total = catalogue.len();
        let mut checks = self.publishing(catalogue);
        for (group, tally) in [(&self.statistics, statistics), (&self.strong, strong)] {
            let fact = format!("`{}` saw {} distinct offsets, no gap", group.name, number(total));
            checks.push(Check::new(fact, self.objections(tally, total)));
        }
        let networks = catalogue.networks();
        let disorder: Vec<String> = statistics.disorder().iter().chain(strong.disorder()).cloned().collect();
        checks.push(Check::new(
            format!("order kept within each of {} networks, in both groups", networks.len()),
            disorder,
        ));
        let counted = statistics.networks();
        let wrong = networks.iter().filter_map(|(name, rows)| {
            let events = counted.get(name).map_or(0, |network| network.events);
            (events != *rows).then(|| format!("{name}: {} instead of {}", number(events), number(*rows)))
        });
        checks.push(Check::new("every network's count is that of the table".to_owned(), wrong.take(5).collect()));
        checks.push(Check::equal(
            format!("{} earthquakes of magnitude 6 and above found", catalogue.strong()),
            strong.strong().len(),
            catalogue.strong(),
        ));
        checks.extend(self.handling(catalogue));
        let behind = self.lag.iter().filter(|(_, events)| *events != 0);
        let behind = behind.map(|(group, events)| format!("`{group}` is {} events behind", count(*events)));
        checks.push(Check::new("lag 0 in all groups, and no dead letters left".to_owned(), behind.collect()));
        checks
    }

    /// What the producer got back.
    fn publishing(&self, catalogue: &Catalogue) -> Vec<Check> {
        let Published { places, receipts, refused, revised, repeated, .. } = &self.published;
        let (firsts, revisions) = (catalogue.earthquakes(), catalogue.revisions().len());
        let expected: Vec<usize> = catalogue.revisions().iter().map(|(row, _)| *row).collect();
        let wrong_rows = |refused: &[usize]| {
            let wrong =
                format!("{} rows were refused, or others than the {}", number(refused.len()), number(revisions));
            if refused == expected { Vec::new() } else { vec![wrong] }
        };
        let mut again = wrong_rows(&repeated.refused);
        if repeated.duplicates != firsts || repeated.others > 0 {
            let (known, others) = (number(repeated.duplicates), number(repeated.others));
            again.push(format!("{known} answered with their first places, {others} otherwise"));
        }
        let bad = if self.is_bad_event_refused { Vec::new() } else { vec!["it was not".to_owned()] };
        vec![
            Check::equal(
                format!("{} events published, each with a receipt of its own place", number(firsts)),
                places.len().saturating_sub(*revised).min(*receipts),
                firsts,
            ),
            Check::new(
                format!("{} refused: they revise an earthquake under the same idempotency key", number(revisions)),
                wrong_rows(refused),
            ),
            Check::equal(format!("{} published as revisions instead", number(revisions)), *revised, revisions),
            Check::new(
                format!(
                    "published once more: {} answered with their first places, {} refused again",
                    number(firsts),
                    number(revisions)
                ),
                again,
            ),
            Check::new("an event that the schema does not allow was refused".to_owned(), bad),
        ]
    }

    /// What the shared group did.
    fn handling(&self, catalogue: &Catalogue) -> Vec<Check> {
        let (book, repaired) = (self.crew.book(), &self.repaired);
        let (network, rows) = catalogue.failing();
        let mut handled: Vec<String> = book.again.iter().take(5).cloned().collect();
        let elsewhere =
            book.handled.iter().filter(|(place, row)| self.published.places.get(place) != Some(row)).count();
        if book.handled.len() != catalogue.len() || elsewhere > 0 {
            let (events, elsewhere) = (number(book.handled.len()), number(elsewhere));
            handled.push(format!("{events} events, {elsewhere} of them not where their receipts say"));
        }
        let mut dead = Vec::new();
        let listed: HashSet<_> = repaired.listed.iter().copied().collect();
        if repaired.listed.len() != rows || listed != book.failed {
            dead.push(format!("{} dead letters of {} events", number(repaired.listed.len()), number(listed.len())));
        }
        if let Some(attempts) = repaired.attempts.iter().find(|attempts| **attempts != ATTEMPTS) {
            dead.push(format!("one after {attempts} attempts"));
        }
        let mut edited = Vec::new();
        if !repaired.is_bad_edit_refused {
            edited.push("an edit that the schema does not allow was not refused".to_owned());
        }
        if book.reviewed != repaired.edited.into_iter().collect::<Vec<_>>() {
            edited.push(format!("edited: {:?}, and came so: {:?}", repaired.edited, book.reviewed));
        }
        vec![
            Check::new(
                format!(
                    "`{}` handled {} events, none again after its acknowledgement",
                    self.crew.name,
                    number(catalogue.len())
                ),
                handled,
            ),
            Check::new(
                format!(
                    "{} events of {network} failed {ATTEMPTS} times each, and were dead letters then",
                    number(rows)
                ),
                dead,
            ),
            Check::new("one of them was edited, as the schema allows, and came back so".to_owned(), edited),
            Check::equal(
                format!("all {} were redriven and handled", number(rows)),
                usize::try_from(repaired.redriven).unwrap_or_default(),
                rows,
            ),
        ]
    }

    fn objections(&self, tally: &Tally, total: usize) -> Vec<String> {
        let mut objections = tally.gaps();
        objections.extend_from_slice(tally.changed());
        if tally.distinct() != total {
            objections.push(format!("{} instead of {}", number(tally.distinct()), number(total)));
        }
        let receipts = &self.published.places;
        let phantoms = tally.seen().keys().filter(|place| !receipts.contains_key(place)).count();
        if phantoms > 0 {
            objections.push(format!("{} events that no receipt speaks of", number(phantoms)));
        }
        let elsewhere = receipts.iter().filter(|(place, row)| tally.seen().get(place).is_some_and(|seen| seen != *row));
        match elsewhere.count() {
            0 => {}
            events => objections.push(format!("{} events are not where their receipts say", number(events))),
        }
        objections
    }

    /// What the kill cost.
    fn consequences(&self, statistics: &Tally, strong: &Tally) -> String {
        let again = |tally: &Tally| count(tally.again());
        let mut text = format!(
            "  Because of the kill, {} events were delivered twice to `statistics` and {} to `strong-quakes`\n  \
             (at-least-once delivery); {} events were sent again and found in the log (exactly-once append).",
            again(statistics),
            again(strong),
            number(self.published.found_again),
        );
        if let Some(interruption) = self.published.interruption {
            text.push_str(&format!("\n  The producer's next receipt came {} after the kill.", span(interruption)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs, sync::Arc};

    use super::*;
    use crate::demo::{
        board::{Board, Counter},
        publish::Repeated,
        quake::Quake,
    };

    /// What goes wrong in a run.
    type Wrong = fn(&mut Verdict);

    /// A delivery: partition, offset, row.
    type Delivery = (u32, i64, usize);

    /// Network and magnitude of each row; `a` goes to partition 0, `b` to partition 1.
    const ROWS: [(&str, f64); 6] = [("a", 6.5), ("b", 1.0), ("a", 2.0), ("b", 7.0), ("a", 3.0), ("b", 4.0)];
    const GOOD: [Delivery; 6] = [(0, 0, 0), (1, 0, 1), (0, 1, 2), (1, 1, 3), (0, 2, 4), (1, 2, 5)];

    fn catalogue() -> Catalogue {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quakes.csv");
        let row =
            |(number, (network, magnitude))| format!("2026/01/01 00:00:00.00,0,0,{magnitude},{network},{number}\n");
        let rows: String = ROWS.into_iter().enumerate().map(row).collect();
        fs::write(&path, format!("DateTime,Latitude,Longitude,Magnitude,Source,EventID\n{rows}")).unwrap();
        Catalogue::read(&path).unwrap()
    }

    /// What speaks against a run in which both groups saw this; empty when all holds.
    fn objections(seen: &[Delivery], receipts: &[Delivery], lag: i64) -> String {
        said_of(&run(seen, receipts, lag))
    }

    fn said_of(verdict: &Verdict) -> String {
        let (one, other) = (verdict.statistics.tally(), verdict.strong.tally());
        let checks = verdict.checks(&catalogue(), &one, &other);
        let found = checks.iter().flat_map(|check| &check.objections);
        found.cloned().collect::<Vec<_>>().join("\n")
    }

    fn run(seen: &[Delivery], receipts: &[Delivery], lag: i64) -> Verdict {
        let board = Arc::new(Board::new(ROWS.len()));
        let group = |name, counter, seen: &[Delivery]| {
            let group = Group::new(name, counter, ROWS.len(), &board);
            for (partition, offset, row) in seen {
                let (network, magnitude) = ROWS[*row];
                let time = "2026/01/01 00:00:00.00".to_owned();
                let (network, id) = (network.to_owned(), row.to_string());
                let quake = Quake {
                    time,
                    latitude: 0.0,
                    longitude: 0.0,
                    magnitude,
                    network,
                    id,
                    is_reviewed: false,
                    is_revision: false,
                };
                group.tally().take((*partition, *offset), *row, quake);
            }
            group
        };
        let places: HashMap<_, _> =
            receipts.iter().map(|(partition, offset, row)| ((*partition, *offset), *row)).collect();
        let repeated = Repeated { duplicates: ROWS.len(), ..Repeated::default() };
        let crew = Crew::new("crew", catalogue().failing().0, &board);
        // The events of `a` failed, and one of them was edited.
        let failed = [(0, 0), (0, 1), (0, 2)];
        crew.book().handled = GOOD.iter().map(|(partition, offset, row)| ((*partition, *offset), *row)).collect();
        crew.book().failed = failed.into();
        crew.book().reviewed = vec![failed[1]];
        Verdict {
            published: Published { receipts: receipts.len(), places, repeated, ..Published::default() },
            statistics: group("one", Counter::Statistics, seen),
            strong: group("other", Counter::StrongQuakes, seen),
            crew,
            repaired: Repaired {
                listed: failed.into(),
                attempts: vec![ATTEMPTS; 3],
                edited: Some(failed[1]),
                is_bad_edit_refused: true,
                redriven: 3,
            },
            is_bad_event_refused: true,
            lag: vec![("one", lag), ("other", 0)],
        }
    }

    fn with(change: impl FnOnce(&mut Vec<Delivery>)) -> Vec<Delivery> {
        let mut deliveries = GOOD.to_vec();
        change(&mut deliveries);
        deliveries
    }

    #[test]
    fn a_good_history_holds_and_repeats_are_no_objection() {
        assert_eq!(objections(&GOOD, &GOOD, 0), "");
        assert_eq!(objections(&with(|seen| seen.extend([(0, 1, 2), (0, 2, 4), (1, 0, 1)])), &GOOD, 0), "");
    }

    #[test]
    fn every_wrong_delivery_is_an_objection() {
        for (wrong, named) in [
            (with(|seen| seen.retain(|delivery| delivery.2 != 2)), "partition 0: 2 events up to offset 2"),
            (with(|seen| seen.truncate(5)), "5 instead of 6"),
            (with(|seen| seen.swap(0, 2)), "a: row 0 came after row 2, at 0/0"),
            (with(|seen| seen.push((0, 3, 4))), "1 events that no receipt speaks of"),
            (with(|seen| seen.push((0, 3, 4))), "a: row 4 came after row 4, at 0/3"),
            (with(|seen| seen[4].2 = 2), "1 events are not where their receipts say"),
            (with(|seen| seen.push((0, 1, 4))), "0/1 was row 2, and row 4 when it came again"),
            (with(|seen| seen[3].2 = 1), "1 instead of 2"),
        ] {
            let found = objections(&wrong, &GOOD, 0);
            assert!(found.lines().any(|line| line == named), "{named} is not among:\n{found}");
        }
    }

    #[test]
    fn every_wrong_receipt_is_an_objection() {
        for (wrong, named) in [
            (with(|receipts| receipts.truncate(5)), "5 instead of 6"),
            (with(|receipts| receipts[5] = (1, 1, 5)), "5 instead of 6"),
            (with(|receipts| receipts[5].1 = 3), "1 events that no receipt speaks of"),
            (with(|receipts| (receipts[0].2, receipts[2].2) = (2, 0)), "2 events are not where their receipts say"),
        ] {
            let found = objections(&GOOD, &wrong, 0);
            assert!(found.lines().any(|line| line == named), "{named} is not among:\n{found}");
        }
    }

    #[test]
    fn everything_else_that_goes_wrong_is_an_objection() {
        let wrong: [(Wrong, &str); 10] = [
            (|run| run.is_bad_event_refused = false, "it was not"),
            (|run| run.published.refused.push(4), "1 rows were refused, or others than the 0"),
            (|run| run.published.repeated.refused.push(4), "1 rows were refused, or others than the 0"),
            (|run| run.published.repeated.others = 1, "6 answered with their first places, 1 otherwise"),
            (|run| run.crew.book().again.push("again".into()), "again"),
            (|run| run.crew.book().handled.extend([((0, 2), 1)]), "6 events, 1 of them not where their receipts say"),
            (|run| run.repaired.listed[0] = (0, 1), "3 dead letters of 2 events"),
            (|run| run.repaired.attempts[2] = 2, "one after 2 attempts"),
            (|run| run.crew.book().reviewed.clear(), "edited: Some((0, 1)), and came so: []"),
            (|run| run.repaired.redriven = 2, "2 instead of 3"),
        ];
        for (wrong, named) in wrong {
            let mut verdict = run(&GOOD, &GOOD, 0);
            wrong(&mut verdict);
            assert_eq!(said_of(&verdict), named);
        }
    }

    #[test]
    fn a_group_that_is_behind_is_an_objection() {
        assert_eq!(objections(&GOOD, &GOOD, 3), "`one` is 3 events behind");
    }
}
