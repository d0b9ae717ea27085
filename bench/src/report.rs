//! All rounds together: a table for people, a file for programs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::Result;
use crate::figures::{Bar, KINDS, Kind, Sample, median};
use crate::output::number;

/// How it was measured.
#[derive(Debug)]
pub struct Settings {
    pub seconds: f64,
    pub warm_up_seconds: f64,
    pub broker: String,
    /// Compressed by uncompressed size of each kind of payload.
    pub ratios: Vec<(&'static str, f64)>,
}

#[derive(Debug)]
pub struct Report {
    machine: Value,
    settings: Settings,
    rounds: u32,
    samples: Vec<Sample>,
}

impl Report {
    pub fn new(machine: Value, settings: Settings) -> Self {
        Self { machine, settings, rounds: 0, samples: Vec::new() }
    }

    pub fn add(&mut self, samples: Vec<Sample>) {
        self.rounds += 1;
        self.samples.extend(samples);
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).collect()
    }

    /// The best of one to three connections.
    fn append_ceiling(&self) -> Option<f64> {
        let names = ["append_ceiling_200_1", "append_ceiling_200_2", "append_ceiling_200_3"];
        let medians = names.map(|name| median(&self.values(name)));
        medians.into_iter().filter(|value| value.is_finite()).max_by(f64::total_cmp)
    }

    fn of_ceiling(&self, kind: &Kind, value: f64) -> Option<f64> {
        self.append_ceiling().filter(|_| kind.is_appended).map(|ceiling| value / ceiling)
    }

    fn measured(&self) -> impl Iterator<Item = (&'static Kind, Vec<f64>)> {
        KINDS.iter().map(|kind| (kind, self.values(kind.name))).filter(|(_, values)| !values.is_empty())
    }

    /// In Markdown, aligned.
    pub fn table(&self) -> String {
        let mut lines =
            vec![["what", "measured", "spread", "unit", "bar", "met", "of append ceiling"].map(str::to_owned)];
        for (kind, values) in self.measured() {
            let middle = median(&values);
            let spread = if values.len() > 1 {
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                format!("{} to {}", number(least), number(most))
            } else {
                String::new()
            };
            let bar = match kind.bar {
                Some(Bar::AtLeast(bar)) => format!("≥ {}", number(bar)),
                Some(Bar::AtMost(bar)) => format!("≤ {}", number(bar)),
                None => String::new(),
            };
            let met = kind.bar.map_or("", |bar| if bar.is_met_by(middle) { "yes" } else { "no" }).to_owned();
            let of_ceiling =
                self.of_ceiling(kind, middle).map_or(String::new(), |ratio| format!("{:.0} %", ratio * 100.0));
            lines.push([kind.what.to_owned(), number(middle), spread, kind.unit.to_owned(), bar, met, of_ceiling]);
        }
        aligned(&lines)
    }

    pub fn to_json(&self) -> Value {
        let figures: Map<String, Value> = self
            .measured()
            .map(|(kind, values)| {
                let middle = median(&values);
                let details: Vec<&Map<String, Value>> = self
                    .samples
                    .iter()
                    .filter(|sample| sample.name == kind.name)
                    .map(|sample| &sample.details)
                    .collect();
                let bar = kind.bar.map(|bar| match bar {
                    Bar::AtLeast(value) => json!({ "at_least": value, "met": bar.is_met_by(middle) }),
                    Bar::AtMost(value) => json!({ "at_most": value, "met": bar.is_met_by(middle) }),
                });
                let figure = json!({
                    "what": kind.what,
                    "unit": kind.unit,
                    "median": middle,
                    "samples": values,
                    "bar": bar,
                    "of_append_ceiling": self.of_ceiling(kind, middle),
                    "details": details,
                });
                (kind.name.to_owned(), figure)
            })
            .collect();
        let ratios: Map<String, Value> =
            self.settings.ratios.iter().map(|(name, ratio)| ((*name).to_owned(), json!(ratio))).collect();
        let postgres_settings: Map<String, Value> =
            crate::ground::SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "machine": self.machine,
            "settings": {
                "seconds": self.settings.seconds,
                "warm_up_seconds": self.settings.warm_up_seconds,
                "rounds": self.rounds,
                "broker": self.settings.broker,
                "postgres": postgres_settings,
                "payload_lz4_ratio": ratios,
            },
            "figures": figures,
        })
    }

    /// Writes `latest.json`.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join("latest.json");
        fs::write(&path, format!("{:#}\n", self.to_json()))?;
        Ok(path)
    }
}

fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, &width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            let rules: Vec<String> = widths
                .iter()
                .enumerate()
                .map(
                    |(column, width)| {
                        if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
                    },
                )
                .collect();
            text.push_str(&format!("| {} |\n", rules.join(" | ")));
        }
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let settings = Settings {
            seconds: 8.0,
            warm_up_seconds: 2.0,
            broker: "a process".into(),
            ratios: vec![("json_200", 0.5)],
        };
        let mut report = Report::new(json!({ "cores": 2 }), settings);
        report.add(vec![
            Sample::new("append_ceiling_200_1", 1_000_000.0),
            Sample::new("publish_200", 400_000.0).with("events", 7),
        ]);
        report.add(vec![
            Sample::new("append_ceiling_200_1", 1_000_000.0),
            Sample::new("publish_200", 800_000.0).with("events", 8),
        ]);
        report
    }

    #[test]
    fn the_file_names_machine_settings_and_every_figure() {
        let json = report().to_json();
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(json["settings"]["rounds"], 2);
        assert_eq!(json["settings"]["payload_lz4_ratio"]["json_200"], 0.5);
        let publish = &json["figures"]["publish_200"];
        assert_eq!(publish["median"], 600_000.0);
        assert_eq!(publish["samples"], json!([400_000.0, 800_000.0]));
        assert_eq!(publish["bar"], json!({ "at_least": 500_000.0, "met": true }));
        assert_eq!(publish["of_append_ceiling"], 0.6);
        assert_eq!(publish["details"][1]["events"], 8);
        assert!(json["figures"].get("catch_up").is_none(), "what was not measured is not there");
    }

    #[test]
    fn the_table_shows_figure_spread_bar_and_ratio() {
        let table = report().table();
        let line = table.lines().find(|line| line.contains("publish, 200 B ")).expect("a line");
        for part in ["600,000", "400,000 to 800,000", "≥ 500,000", "yes", "60 %"] {
            assert!(line.contains(part), "{part} in {line}");
        }
        let width = |line: &str| line.chars().count();
        assert!(table.lines().all(|other| width(other) == width(line)));
    }
}
