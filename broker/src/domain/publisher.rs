//! Who published events. Kept in runs beside the events of a row, because whole rows come from few.

use std::ops::Range;
use std::sync::Arc;

/// The publishers of a row's events, in their order: each with a number of consecutive events. Empty: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publishers(Vec<(Arc<str>, u32)>);

impl Publishers {
    /// So many events more, of this publisher.
    pub fn push(&mut self, publisher: &Arc<str>, events: u32) {
        match self.0.last_mut() {
            Some((last, count)) if Arc::ptr_eq(last, publisher) || last == publisher => *count += events,
            _ => self.0.push((publisher.clone(), events)),
        }
    }

    pub fn runs(&self) -> &[(Arc<str>, u32)] {
        &self.0
    }

    /// How many events they have published.
    pub fn event_count(&self) -> usize {
        self.0.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Those of a range of the row's events.
    pub fn among(&self, events: &Range<usize>) -> impl Iterator<Item = (&Arc<str>, u32)> {
        let mut end = 0;
        self.0.iter().filter_map(move |(publisher, count)| {
            let run = end..end + *count as usize;
            end = run.end;
            let shared = events.end.min(run.end).saturating_sub(events.start.max(run.start));
            (shared > 0).then_some((publisher, shared as u32))
        })
    }

    /// The checksum of a row, from that of its encoded events.
    pub fn crc(&self, events: u32) -> u32 {
        let run = |crc, (publisher, count): &(Arc<str>, u32)| {
            crc32c::crc32c_append(crc32c::crc32c_append(crc, publisher.as_bytes()), &count.to_be_bytes())
        };
        self.0.iter().fold(events, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publishers(runs: &[(&str, u32)]) -> Publishers {
        let mut publishers = Publishers::default();
        runs.iter().for_each(|(name, count)| publishers.push(&(*name).into(), *count));
        publishers
    }

    #[test]
    fn consecutive_events_of_one_publisher_are_one_run() {
        let publishers = publishers(&[("a", 1), ("a", 2), ("b", 1), ("a", 1)]);
        let runs: Vec<(&str, u32)> = publishers.runs().iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(runs, [("a", 3), ("b", 1), ("a", 1)]);
        assert_eq!(publishers.event_count(), 5);
    }

    #[test]
    fn a_part_of_a_row_has_its_part_of_the_publishers() {
        let publishers = publishers(&[("a", 3), ("b", 1), ("c", 2)]);
        let among =
            |events| publishers.among(&events).map(|(name, count)| (name.to_string(), count)).collect::<Vec<_>>();
        assert_eq!(among(0..6), [("a".into(), 3), ("b".into(), 1), ("c".into(), 2)]);
        assert_eq!(among(2..4), [("a".into(), 1), ("b".into(), 1)]);
        assert_eq!(among(5..6), [("c".into(), 1)]);
        assert_eq!(among(4..4), []);
    }

    #[test]
    fn the_checksum_knows_who_published_what() {
        let crc = |runs: &[(&str, u32)]| publishers(runs).crc(7);
        assert_eq!(crc(&[]), 7);
        assert_ne!(crc(&[("a", 2), ("b", 1)]), crc(&[("a", 1), ("b", 2)]));
        assert_ne!(crc(&[("a", 1)]), crc(&[("b", 1)]));
    }
}
