//! Figures, medians, and ratios against the bars.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::peer::About;

/// One round of one peer.
#[derive(Clone, Debug)]
pub struct Measured {
    pub peer: String,
    about: About,
    values: BTreeMap<String, f64>,
}

impl Measured {
    pub fn new(about: About) -> Self {
        Self { peer: String::new(), about, values: BTreeMap::new() }
    }

    pub fn of(mut self, peer: &str) -> Self {
        self.peer = peer.into();
        self
    }

    pub fn set(&mut self, figure: &str, value: f64) {
        self.values.insert(figure.into(), value);
    }

    pub fn to_json(&self, peer: &str, round: usize) -> Value {
        json!({
            "peer": peer, "round": round, "version": self.about.version, "configuration": self.about.configuration,
            "flushed_before_ack": self.about.flushed_before_ack, "figures": self.values,
        })
    }
}

/// Whose best value the bar is a multiple of.
#[derive(Clone, Copy, PartialEq)]
enum Against {
    Any,
    Flushed,
}

struct Bar {
    figure: &'static str,
    unit: &'static str,
    against: Against,
    /// At least so many times the best peer's, where more is better; at most, where less is.
    times: f64,
    is_more_better: bool,
}

const fn more(figure: &'static str, against: Against, times: f64) -> Bar {
    Bar { figure, unit: "/s", against, times, is_more_better: true }
}

const fn less(figure: &'static str, unit: &'static str, against: Against, times: f64) -> Bar {
    Bar { figure, unit, against, times, is_more_better: false }
}

/// Of the project's issue "A fair race against the peers".
const BARS: [Bar; 13] = [
    more("publish_200", Against::Any, 1.2),
    more("publish_200", Against::Flushed, 1.8),
    more("publish_1000", Against::Any, 1.2),
    more("publish_1000", Against::Flushed, 1.8),
    more("end_to_end", Against::Any, 1.2),
    more("catch_up", Against::Any, 1.5),
    more("fan_out", Against::Any, 2.0),
    less("publish_p50", "ms", Against::Flushed, 1.2),
    less("publish_p99", "ms", Against::Flushed, 1.0),
    less("end_to_end_p50", "ms", Against::Flushed, 1.2),
    less("end_to_end_p99", "ms", Against::Flushed, 1.0),
    less("server_cpu", "s/million", Against::Flushed, 1.0),
    less("disk_200", "B/event", Against::Any, 1.0),
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

fn values(all: &[Measured], peer: &str, figure: &str) -> Vec<f64> {
    all.iter().filter(|one| one.peer == peer).filter_map(|one| one.values.get(figure).copied()).collect()
}

/// Medians with the least and the most of each, then the ratios.
pub fn table(all: &[Measured]) -> String {
    let mut peers: Vec<&Measured> = Vec::new();
    for one in all {
        if peers.iter().all(|known| known.peer != one.peer) {
            peers.push(one);
        }
    }
    let mut out = String::new();
    for peer in &peers {
        let _ = writeln!(
            out,
            "{}: {}; {}; flushed before the ack: {}",
            peer.peer, peer.about.version, peer.about.configuration, peer.about.flushed_before_ack
        );
        for figure in peer.values.keys() {
            let values = values(all, &peer.peer, figure);
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
            let _ = writeln!(
                out,
                "  {figure:<16} {:>14.3}  ({least:.3} to {most:.3})",
                median(&values).unwrap_or(f64::NAN)
            );
        }
    }
    for bar in &BARS {
        let Some((ratio, best)) = ratio(all, &peers, bar) else { continue };
        let is_met = if bar.is_more_better { ratio >= bar.times } else { ratio <= bar.times };
        let which = if bar.against == Against::Flushed { ", of those that flush" } else { "" };
        let _ = writeln!(
            out,
            "{:<16} {ratio:.2} times {best}{which} ({}; bar {} {}): {}",
            bar.figure,
            bar.unit,
            if bar.is_more_better { "≥" } else { "≤" },
            bar.times,
            if is_met { "met" } else { "NOT MET" }
        );
    }
    out
}

/// EventFlow's median by the best peer's, and who that is.
fn ratio(all: &[Measured], peers: &[&Measured], bar: &Bar) -> Option<(f64, String)> {
    let ours = median(&values(all, "eventflow", bar.figure))?;
    let theirs = peers
        .iter()
        .filter(|peer| peer.peer != "eventflow" && (bar.against == Against::Any || peer.about.is_flushed))
        .filter_map(|peer| Some((median(&values(all, &peer.peer, bar.figure))?, peer.peer.clone())));
    let best = if bar.is_more_better {
        theirs.max_by(|a, b| a.0.total_cmp(&b.0))
    } else {
        theirs.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    best.map(|(value, peer)| (ours / value, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(peer: &str, is_flushed: bool, figure: &str, value: f64) -> Measured {
        let about = About { version: "1".into(), configuration: String::new(), flushed_before_ack: "", is_flushed };
        let mut measured = Measured::new(about).of(peer);
        measured.set(figure, value);
        measured
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_bar_is_held_against_the_best_peer_that_it_names() {
        let all = [
            measured("eventflow", true, "publish_200", 300.0),
            measured("fast", false, "publish_200", 200.0),
            measured("safe", true, "publish_200", 100.0),
            measured("slow", true, "publish_200", 10.0),
        ];
        let peers: Vec<&Measured> = all.iter().collect();
        assert_eq!(ratio(&all, &peers, &BARS[0]), Some((1.5, "fast".into())));
        assert_eq!(ratio(&all, &peers, &BARS[1]), Some((3.0, "safe".into())));
        let all = all.map(|one| Measured { values: [("disk_200".into(), one.values["publish_200"])].into(), ..one });
        let peers: Vec<&Measured> = all.iter().collect();
        assert_eq!(ratio(&all, &peers, &BARS[12]), Some((30.0, "slow".into())));
    }
}
