//! The raw results: a CSV file to which each measured point is added at once.
//!
//! A point that fails has a line that says why, and no figure. What stands there is not measured again, failures are.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::axis::Axis;
use crate::figures::Sample;
use crate::{Result, machine};

const HEAD: &str = "axis,size,figure,value,failure,seconds,commit,machine,postgres,broker,unix_time";

/// What a line says besides its figure: how, with what and where it was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circumstances {
    pub seconds: u64,
    pub commit: String,
    pub machine: String,
    pub postgres: String,
    pub broker: String,
    pub unix_time: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub axis: String,
    pub size: u64,
    pub outcome: Outcome,
    pub circumstances: Circumstances,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Figure { name: String, value: f64 },
    Failure(String),
}

impl Line {
    fn to_csv(&self) -> String {
        let (figure, value, failure) = match &self.outcome {
            Outcome::Figure { name, value } => (name.as_str(), value.to_string(), ""),
            Outcome::Failure(why) => ("", String::new(), why.as_str()),
        };
        let how = &self.circumstances;
        let (size, seconds, time) = (self.size.to_string(), how.seconds.to_string(), how.unix_time.to_string());
        let cells = [
            self.axis.as_str(),
            &size,
            figure,
            &value,
            failure,
            &seconds,
            &how.commit,
            &how.machine,
            &how.postgres,
            &how.broker,
            &time,
        ];
        cells.map(plain).join(",")
    }

    fn parse(text: &str) -> Result<Self> {
        let cells: Vec<&str> = text.split(',').collect();
        let [axis, size, figure, value, failure, seconds, commit, machine, postgres, broker, time] = cells[..] else {
            return Err(format!("`{text}` has {} cells, not those of `{HEAD}`", cells.len()).into());
        };
        let outcome = match failure {
            "" => Outcome::Figure { name: figure.to_owned(), value: value.parse()? },
            why => Outcome::Failure(why.to_owned()),
        };
        let circumstances = Circumstances {
            seconds: seconds.parse()?,
            commit: commit.to_owned(),
            machine: machine.to_owned(),
            postgres: postgres.to_owned(),
            broker: broker.to_owned(),
            unix_time: time.parse()?,
        };
        Ok(Self { axis: axis.to_owned(), size: size.parse()?, outcome, circumstances })
    }
}

/// A cell without what would end it.
fn plain(text: &str) -> String {
    text.replace(',', ";").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The file, and what it holds.
pub struct Record {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Record {
    /// Reads what is there; the file need not be.
    pub fn open(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path: path.to_owned(), lines: parse(&text)? })
    }

    pub fn has(&self, axis: Axis, size: u64) -> bool {
        let mut of_point = self.lines.iter().filter(|line| line.axis == axis.name() && line.size == size);
        of_point.next_back().is_some_and(|line| matches!(line.outcome, Outcome::Figure { .. }))
    }

    /// Adds a point in one write, so that an interrupted run leaves whole points only.
    pub fn add(
        &mut self,
        axis: Axis,
        size: u64,
        outcome: &Result<Vec<Sample>>,
        circumstances: &Circumstances,
    ) -> Result<()> {
        let outcomes = match outcome {
            Ok(samples) => samples
                .iter()
                .map(|sample| Outcome::Figure { name: sample.name.to_owned(), value: sample.value })
                .collect(),
            Err(failure) => vec![Outcome::Failure(failure.to_string())],
        };
        let line = |outcome| Line {
            axis: axis.name().to_owned(),
            size,
            outcome,
            circumstances: Circumstances { unix_time: machine::unix_time(), ..circumstances.clone() },
        };
        let lines: Vec<Line> = outcomes.into_iter().map(line).collect();
        let mut text = String::new();
        if !self.path.is_file() {
            let _ = writeln!(text, "{HEAD}");
        }
        for line in &lines {
            let _ = writeln!(text, "{}", line.to_csv());
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())?;
        self.lines.extend(lines);
        Ok(())
    }

    /// The newest lines of every point of an axis, by size.
    pub fn points(&self, axis: Axis) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for line in self.lines.iter().filter(|line| line.axis == axis.name()) {
            match points.iter_mut().find(|point| point.size == line.size) {
                Some(point) => point.take(&line.outcome),
                None => {
                    let mut point = Point { size: line.size, ..Point::default() };
                    point.take(&line.outcome);
                    points.push(point);
                }
            }
        }
        points.sort_by_key(|point| point.size);
        points
    }
}

fn parse(text: &str) -> Result<Vec<Line>> {
    let mut lines = text.lines();
    match lines.next() {
        None => Ok(Vec::new()),
        Some(HEAD) => lines.map(Line::parse).collect(),
        Some(other) => Err(format!("the file of figures begins with `{other}`, not with `{HEAD}`").into()),
    }
}

/// What is known of one size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    pub size: u64,
    pub figures: Vec<(String, f64)>,
    pub failure: Option<String>,
}

impl Point {
    fn take(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Failure(why) => *self = Self { size: self.size, figures: Vec::new(), failure: Some(why.clone()) },
            Outcome::Figure { name, value } => {
                self.failure = None;
                self.figures.retain(|(known, _)| known != name);
                self.figures.push((name.clone(), *value));
            }
        }
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circumstances() -> Circumstances {
        Circumstances {
            seconds: 4,
            commit: "abc".into(),
            machine: "2 cores".into(),
            postgres: "15.18".into(),
            broker: "a process".into(),
            unix_time: 7,
        }
    }

    fn record() -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join("deep/growth.csv")).unwrap();
        (dir, record)
    }

    #[test]
    fn lines_come_back_as_they_were_written() {
        let outcomes = [
            Outcome::Figure { name: "published".into(), value: 1_234_567.890_625 },
            Outcome::Figure { name: "published".into(), value: 1e-7 },
            Outcome::Failure("it ended".into()),
        ];
        for outcome in outcomes {
            let line = Line { axis: "stored".into(), size: 100_000_000, outcome, circumstances: circumstances() };
            assert_eq!(Line::parse(&line.to_csv()).unwrap(), line);
        }
    }

    #[test]
    fn what_would_end_a_cell_or_a_line_is_replaced() {
        let outcome = Outcome::Failure("1, 2\nand 3".into());
        let line = Line { axis: "idle".into(), size: 1, outcome, circumstances: circumstances() };
        assert_eq!(Line::parse(&line.to_csv()).unwrap().outcome, Outcome::Failure("1; 2 and 3".into()));
    }

    #[test]
    fn a_rerun_finds_what_was_measured_and_measures_failures_again() {
        let (_dir, mut record) = record();
        let sample = |value| Ok(vec![Sample::new("published", value), Sample::new("end_to_end", value / 2.0)]);
        record.add(Axis::Partitions, 1, &sample(10.0), &circumstances()).unwrap();
        record.add(Axis::Partitions, 4, &Err("lost one".into()), &circumstances()).unwrap();
        let mut again = Record::open(&record.path).unwrap();
        assert!(again.has(Axis::Partitions, 1));
        assert!(!again.has(Axis::Partitions, 4), "a failure is no figure");
        assert!(!again.has(Axis::Streams, 1) && !again.has(Axis::Partitions, 16));
        assert_eq!(again.points(Axis::Partitions)[1].failure.as_deref(), Some("lost one"));
        again.add(Axis::Partitions, 4, &sample(20.0), &circumstances()).unwrap();
        let last = Record::open(&record.path).unwrap();
        assert!(last.has(Axis::Partitions, 4));
        let points = last.points(Axis::Partitions);
        assert_eq!(points.iter().map(|point| point.size).collect::<Vec<_>>(), [1, 4]);
        assert_eq!((points[1].figure("end_to_end"), &points[1].failure), (Some(10.0), &None));
    }

    #[test]
    fn a_failure_takes_the_figures_of_its_point_back() {
        let (_dir, mut record) = record();
        record.add(Axis::Idle, 10, &Ok(vec![Sample::new("memory", 1.0)]), &circumstances()).unwrap();
        record.add(Axis::Idle, 10, &Err("gone".into()), &circumstances()).unwrap();
        assert!(!record.has(Axis::Idle, 10));
        assert_eq!(record.points(Axis::Idle)[0].figure("memory"), None);
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        assert!(parse("seconds,rate\n10,1\n").is_err());
        assert!(parse(&format!("{HEAD}\nproducers,1,producers\n")).is_err());
        assert_eq!(parse("").unwrap(), []);
    }
}
