//! What the checker found: a count for each invariant, and the first examples.

use std::collections::BTreeMap;

use super::invariants;

/// Examples that are kept of each invariant.
const EXAMPLES: usize = 5;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    pub count: u64,
    pub examples: Vec<String>,
}

/// Violations by invariant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    by_invariant: BTreeMap<&'static str, Finding>,
}

impl Findings {
    /// Notes a violation; the text is made only when it will be kept.
    pub fn add(&mut self, id: &'static str, text: impl FnOnce() -> String) {
        debug_assert!(!invariants::name(id).is_empty(), "`{id}` is not in the table");
        let finding = self.by_invariant.entry(id).or_default();
        finding.count += 1;
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(text());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.by_invariant.is_empty()
    }

    /// The invariants that were violated.
    pub fn ids(&self) -> Vec<&'static str> {
        self.by_invariant.keys().copied().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.by_invariant.iter().map(|(id, finding)| (*id, finding))
    }

    pub fn total(&self) -> u64 {
        self.by_invariant.values().map(|finding| finding.count).sum()
    }
}
