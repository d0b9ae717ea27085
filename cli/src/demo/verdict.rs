//! What was proven: one line a fact, each with ✓ or ✗.

use std::time::Duration;

use super::{catalogue::Catalogue, follow::Group, publish::Published, tally::Tally, words};
use crate::{
    failure::{Exit, Failure, Result},
    output::{Output, count, span},
};

/// Everything that the checks look at.
pub(super) struct Verdict {
    pub(super) published: Published,
    pub(super) statistics: Group,
    pub(super) strong: Group,
    /// Events that each group is behind.
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
        let mut checks = vec![Check::equal(
            format!("{} events published, each with a receipt of its own place", number(total)),
            self.published.places.len().min(self.published.receipts),
            total,
        )];
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
        let behind = self.lag.iter().filter(|(_, events)| *events != 0);
        let behind = behind.map(|(group, events)| format!("`{group}` is {} events behind", count(*events)));
        checks.push(Check::new("lag 0 in both groups".to_owned(), behind.collect()));
        checks
    }

    fn objections(&self, tally: &Tally, total: usize) -> Vec<String> {
        let mut objections = tally.gaps();
        if tally.distinct() != total {
            objections.push(format!("{} instead of {}", number(tally.distinct()), number(total)));
        }
        let phantoms = tally.seen().difference(&self.published.places).count();
        if phantoms > 0 {
            objections.push(format!("{} events that no receipt speaks of", number(phantoms)));
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
