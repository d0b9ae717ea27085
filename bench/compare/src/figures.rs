//! Figures, medians, and ratios against the bars.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::peer::About;

/// One round of one peer: a line of the raw results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub peer: String,
    pub round: usize,
    #[serde(flatten)]
    pub about: About,
    pub figures: BTreeMap<String, f64>,
}

pub struct Figure {
    pub name: &'static str,
    pub title: &'static str,
    pub is_more_better: bool,
}

const fn more(name: &'static str, title: &'static str) -> Figure {
    Figure { name, title, is_more_better: true }
}

const fn less(name: &'static str, title: &'static str) -> Figure {
    Figure { name, title, is_more_better: false }
}

/// In the order in which they are shown.
pub const FIGURES: [Figure; 15] = [
    more("publish_200", "Publish, 200 B, events/s"),
    more("publish_1000", "Publish, 1,000 B, events/s"),
    more("publish_200_default", "Publish, 200 B, batching as the client does by default, events/s"),
    more("producers", "32 producers, each waits for its event, events/s"),
    more("end_to_end", "End to end, one group, events/s"),
    more("fan_out", "Fan-out to 10 groups, deliveries/s"),
    more("catch_up", "Catch-up, one consumer, events/s"),
    less("publish_p50", "Publish at 1,000/s, p50, ms"),
    less("publish_p99", "Publish at 1,000/s, p99, ms"),
    less("end_to_end_p50", "End to end at 1,000/s, p50, ms"),
    less("end_to_end_p99", "End to end at 1,000/s, p99, ms"),
    less("server_cpu_200", "Server CPU, 200 B, seconds per million"),
    less("server_cpu_1000", "Server CPU, 1,000 B, seconds per million"),
    less("disk_200", "Disk, 200 B, bytes per event"),
    less("disk_1000", "Disk, 1,000 B, bytes per event"),
];

#[derive(Clone, Copy, PartialEq)]
pub enum Against {
    Any,
    Flushed,
}

pub struct Bar {
    pub figure: &'static str,
    /// Whose best value the bar is a multiple of.
    pub against: Against,
    /// At least so many times the best peer's, where more is better; at most, where less is.
    pub times: f64,
}

const fn any(figure: &'static str, times: f64) -> Bar {
    Bar { figure, against: Against::Any, times }
}

const fn flushed(figure: &'static str, times: f64) -> Bar {
    Bar { figure, against: Against::Flushed, times }
}

/// Of the project's issue "A fair race against the peers".
pub const BARS: [Bar; 15] = [
    any("publish_200", 1.2),
    flushed("publish_200", 1.8),
    any("publish_1000", 1.2),
    flushed("publish_1000", 1.8),
    any("end_to_end", 1.2),
    any("catch_up", 1.5),
    any("fan_out", 2.0),
    flushed("publish_p50", 1.2),
    flushed("publish_p99", 1.0),
    flushed("end_to_end_p50", 1.2),
    flushed("end_to_end_p99", 1.0),
    flushed("server_cpu_200", 1.0),
    flushed("server_cpu_1000", 1.0),
    any("disk_200", 1.0),
    any("disk_1000", 1.0),
];

/// The middle one; the mean of the two middle ones when their number is even.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

/// What all rounds say.
pub struct Results {
    all: Vec<Measured>,
    /// In the order in which they first came.
    pub peers: Vec<(String, About)>,
}

impl Results {
    pub fn new(all: Vec<Measured>) -> Self {
        let mut peers: Vec<(String, About)> = Vec::new();
        for one in &all {
            if peers.iter().all(|(known, _)| *known != one.peer) {
                peers.push((one.peer.clone(), one.about.clone()));
            }
        }
        Self { all, peers }
    }

    pub fn rounds(&self) -> usize {
        self.all.iter().map(|one| one.round + 1).max().unwrap_or(0)
    }

    pub fn spread(&self, peer: &str, figure: &str) -> Option<Spread> {
        let of_peer = self.all.iter().filter(|one| one.peer == peer);
        let values: Vec<f64> = of_peer.filter_map(|one| one.figures.get(figure).copied()).collect();
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
        Some(Spread { least, median: median(&values)?, most })
    }

    /// EventFlow's median by the best peer's, who that is, and whether the bar is met.
    pub fn ratio(&self, bar: &Bar) -> Option<(f64, &str, bool)> {
        let is_more_better = FIGURES.iter().find(|figure| figure.name == bar.figure)?.is_more_better;
        let ours = self.spread("eventflow", bar.figure)?.median;
        let peers = self
            .peers
            .iter()
            .filter(|(name, about)| name != "eventflow" && (bar.against == Against::Any || about.is_flushed));
        let theirs = peers.filter_map(|(name, _)| Some((self.spread(name, bar.figure)?.median, name.as_str())));
        let best = if is_more_better {
            theirs.max_by(|a, b| a.0.total_cmp(&b.0))
        } else {
            theirs.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let (value, peer) = best?;
        let ratio = ours / value;
        Some((ratio, peer, if is_more_better { ratio >= bar.times } else { ratio <= bar.times }))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn measured(peer: &str, round: usize, is_flushed: bool, figure: &str, value: f64) -> Measured {
        let about =
            About { version: "1".into(), configuration: String::new(), flushed_before_ack: String::new(), is_flushed };
        Measured { peer: peer.into(), round, about, figures: [(figure.into(), value)].into() }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_bar_is_held_against_the_best_peer_that_it_names() {
        let of = |figure: &str| {
            Results::new(vec![
                measured("eventflow", 0, true, figure, 300.0),
                measured("fast", 0, false, figure, 200.0),
                measured("safe", 0, true, figure, 100.0),
                measured("slow", 0, true, figure, 10.0),
            ])
        };
        assert_eq!(of("publish_200").ratio(&any("publish_200", 1.6)), Some((1.5, "fast", false)));
        assert_eq!(of("publish_200").ratio(&flushed("publish_200", 1.8)), Some((3.0, "safe", true)));
        assert_eq!(of("disk_200").ratio(&any("disk_200", 1.0)), Some((30.0, "slow", false)));
        assert_eq!(of("disk_200").ratio(&any("publish_200", 1.0)), None);
    }

    #[test]
    fn every_bar_is_of_a_figure_and_a_line_of_the_raw_results_comes_back() {
        assert!(BARS.iter().all(|bar| FIGURES.iter().any(|figure| figure.name == bar.figure)));
        let line = serde_json::to_string(&measured("one", 2, true, "producers", 1.5)).expect("JSON");
        let back: Measured = serde_json::from_str(&line).expect("a line");
        assert_eq!((back.round, back.figures["producers"], back.about.is_flushed), (2, 1.5, true));
    }
}
