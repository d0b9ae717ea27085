//! Sets of offsets, as few ranges as they need.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// Offsets in ascending, disjoint ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    pub fn of(range: Range<i64>) -> Self {
        let mut ranges = Self::default();
        ranges.add(range);
        ranges
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest range.
    pub fn first(&self) -> Option<Range<i64>> {
        self.0.first().map(|(from, to)| *from..*to)
    }

    /// The highest range.
    pub fn last(&self) -> Option<Range<i64>> {
        self.0.last().map(|(from, to)| *from..*to)
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<i64>> + '_ {
        self.0.iter().map(|(from, to)| *from..*to)
    }

    /// How many offsets.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(from, to)| (to - from).unsigned_abs()).sum()
    }

    pub fn contains(&self, offset: i64) -> bool {
        self.range_of(offset).is_some()
    }

    /// The range that an offset is in.
    pub fn range_of(&self, offset: i64) -> Option<Range<i64>> {
        let place = self.0.partition_point(|(_, to)| *to <= offset);
        self.0.get(place).filter(|(from, _)| *from <= offset).map(|(from, to)| *from..*to)
    }

    pub fn add(&mut self, range: Range<i64>) {
        if range.is_empty() {
            return;
        }
        // Those that overlap or touch become one.
        let start = self.0.partition_point(|(_, to)| *to < range.start);
        let end = self.0.partition_point(|(from, _)| *from <= range.end);
        let joined = match self.0.get(start..end) {
            Some([first, .., last]) => (first.0.min(range.start), last.1.max(range.end)),
            Some([only]) => (only.0.min(range.start), only.1.max(range.end)),
            _ => (range.start, range.end),
        };
        self.0.splice(start..end, [joined]);
    }

    /// Takes out what lies in a range, and says what that was.
    pub fn take(&mut self, range: Range<i64>) -> Ranges {
        if range.is_empty() {
            return Ranges::default();
        }
        let start = self.0.partition_point(|(_, to)| *to <= range.start);
        let end = self.0.partition_point(|(from, _)| *from < range.end);
        let mut taken = Ranges::default();
        let mut left = Vec::new();
        for (from, to) in self.0.get(start..end).unwrap_or_default() {
            taken.0.push(((*from).max(range.start), (*to).min(range.end)));
            left.extend((*from < range.start).then_some((*from, range.start)));
            left.extend((*to > range.end).then_some((range.end, *to)));
        }
        if start < end {
            self.0.splice(start..end, left);
        }
        taken
    }

    pub fn add_all(&mut self, other: &Ranges) {
        other.iter().for_each(|range| self.add(range));
    }

    /// The reverse of its text, which is Postgres's for an `int8multirange`.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut ranges = Self::default();
        for part in inner.split("),").filter(|part| !part.is_empty()) {
            let (from, to) = part.strip_prefix('[')?.trim_end_matches(')').split_once(',')?;
            ranges.add(from.parse().ok()?..to.parse().ok()?);
        }
        Some(ranges)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (place, (from, to)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}[{from},{to})")?;
        }
        f.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_that_touch_become_one_and_travel_as_text() {
        let mut ranges = Ranges::of(0..3);
        ranges.add(5..8);
        assert_eq!(ranges.to_string(), "{[0,3),[5,8)}");
        assert_eq!(Ranges::parse("{[0,3),[5,8)}"), Some(ranges.clone()));
        ranges.add(3..5);
        assert_eq!(ranges, Ranges::of(0..8));
        assert_eq!(Ranges::parse("{}"), Some(Ranges::default()));
        assert_eq!(Ranges::parse("[1,2)"), None);
    }

    proptest! {
        #[test]
        fn they_behave_like_a_set(steps in proptest::collection::vec((any::<bool>(), 0i64..60, 0i64..12), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (add, from, length) in steps {
                let range = from..from + length;
                if add {
                    ranges.add(range.clone());
                    set.extend(range);
                } else {
                    let taken = ranges.take(range.clone());
                    let expected: Vec<i64> = range.filter(|offset| set.remove(offset)).collect();
                    prop_assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), expected);
                }
                prop_assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.len(), set.len() as u64);
                prop_assert!((0..80).all(|offset| ranges.contains(offset) == set.contains(&offset)));
                let gaps = ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0);
                prop_assert!(gaps, "{}", ranges);
            }
        }
    }
}
