//! Reading a file or standard input, in a thread of its own, a bounded number of events ahead.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use eventflow::Event;
use tokio::sync::mpsc;

use super::{Fields, Format, rows};
use crate::failure::{Exit, Failure, Result};

/// Events read ahead; when it is full, reading waits.
const AHEAD: usize = 4_096;

/// A place with events.
pub(super) struct Source {
    name: String,
    input: Box<dyn Read + Send>,
    /// Bytes, when known: for the progress bar.
    pub(super) size: Option<u64>,
    format: Format,
}

/// An event, and the bytes of the source up to it.
pub(super) struct Item {
    pub(super) event: Event,
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a file, or standard input for `-` and for none.
    pub(super) fn open(path: Option<&PathBuf>, format: Option<Format>) -> Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self {
                name: "standard input".to_owned(),
                input: Box::new(io::stdin()),
                size: None,
                format: format.unwrap_or(Format::Lines),
            });
        };
        let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        let size = file.metadata().ok().filter(|file| file.is_file()).map(|file| file.len());
        let name = path.display().to_string();
        Ok(Self { name, input: Box::new(file), size, format: format.unwrap_or(by_name(path)) })
    }

    /// Reads to the end, or until nobody takes the events.
    pub(super) fn start(self, fields: Fields) -> mpsc::Receiver<Result<Item>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        // Detached: it ends with the input, or when the receiver is gone.
        drop(tokio::task::spawn_blocking(move || {
            let read = match self.format {
                Format::Csv => read_csv(self.input, &fields, &sender),
                Format::Ndjson => read_lines(self.input, &sender, |line| rows::of_json(&fields, line)),
                Format::Lines => read_lines(self.input, &sender, |line| rows::of_line(&fields, line)),
            };
            if let Err((line, cause)) = read {
                let sentence = format!("line {line} of {} cannot be published", self.name);
                let failure = Failure::new(Exit::Error, "BAD_INPUT", sentence).cause(cause);
                let _ = sender.blocking_send(Err(failure));
            }
        }));
        receiver
    }
}

fn by_name(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Format::Csv,
        Some("json" | "jsonl" | "ndjson") => Format::Ndjson,
        _ => Format::Lines,
    }
}

/// The line, counted from 1, and what is wrong with it.
type Bad = (u64, String);
type Sender = mpsc::Sender<Result<Item>>;

fn read_lines(
    input: impl Read,
    sender: &Sender,
    event: impl Fn(&str) -> std::result::Result<Event, String>,
) -> std::result::Result<(), Bad> {
    let mut input = BufReader::with_capacity(256 * 1024, input);
    let (mut line, mut number, mut bytes) = (String::new(), 0, 0);
    loop {
        line.clear();
        number += 1;
        let read = input.read_line(&mut line).map_err(|error| (number, error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        bytes += read as u64;
        let text = line.strip_suffix('\n').unwrap_or(&line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            continue;
        }
        let event = event(text).map_err(|wrong| (number, wrong))?;
        if sender.blocking_send(Ok(Item { event, bytes })).is_err() {
            return Ok(());
        }
    }
}

fn read_csv(input: impl Read, fields: &Fields, sender: &Sender) -> std::result::Result<(), Bad> {
    let mut reader = csv::Reader::from_reader(BufReader::with_capacity(256 * 1024, input));
    let wrong = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        (line, error.to_string())
    };
    let columns = reader.headers().map_err(wrong)?.clone();
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(wrong)? {
        let line = row.position().map_or(0, csv::Position::line);
        let event = rows::of_csv(fields, &columns, &row).map_err(|wrong| (line, wrong))?;
        let bytes = reader.position().byte();
        if sender.blocking_send(Ok(Item { event, bytes })).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
