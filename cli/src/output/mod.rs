//! What the command line prints: data to standard output, diagnostics to standard error.
//!
//! The only module that writes to either. A reader that has gone away (`| head`) ends the command quietly.

mod listing;
mod paint;
mod words;

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use serde_json::Value;

pub use listing::Listing;
pub use paint::{Paint, Style};
pub use words::{bytes, count, since, span};

use crate::failure::Result;

/// Shape of lists and objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// How a command was asked to answer.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Output")]
pub struct Arguments {
    /// Shape of the answer
    #[arg(id = "output", short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub format: Format,
}

impl Arguments {
    /// Standard output, ready to be written to.
    pub fn open(self) -> Output {
        Output::new(self.format)
    }
}

/// Standard output, buffered until [`Output::flush`] or the end of a listing.
pub struct Output {
    format: Format,
    paint: Paint,
    to: BufWriter<Stdout>,
}

impl Output {
    pub fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let paint = Paint::when(stdout.is_terminal());
        Self { format, paint, to: BufWriter::with_capacity(64 * 1024, stdout) }
    }

    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// A line of data, at once.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.write(text.as_ref().as_bytes())?;
        self.write(b"\n")?;
        self.flush()
    }

    /// Bytes as they are; they may wait in memory until the next flush.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.to.write_all(bytes)?)
    }

    pub fn flush(&mut self) -> Result<()> {
        Ok(self.to.flush()?)
    }

    /// A list of objects.
    pub fn list(&mut self, listing: &Listing) -> Result<()> {
        match self.format {
            Format::Table => self.write(listing.table(self.paint).as_bytes())?,
            Format::Json => {
                let all = Value::Array(listing.objects().to_vec());
                self.json(&all)?;
            }
            Format::Jsonl => {
                for object in listing.objects() {
                    self.json_line(object)?;
                }
            }
        }
        self.flush()
    }

    /// One object: `for_people` is what a table shows instead.
    pub fn object(&mut self, object: &Value, for_people: impl FnOnce(Paint) -> String) -> Result<()> {
        match self.format {
            Format::Table => {
                let text = for_people(self.paint);
                self.write(text.as_bytes())?;
            }
            Format::Json => self.json(object)?,
            Format::Jsonl => self.json_line(object)?,
        }
        self.flush()
    }

    fn json(&mut self, value: &Value) -> Result<()> {
        self.write(format!("{value:#}\n").as_bytes())
    }

    fn json_line(&mut self, value: &Value) -> Result<()> {
        self.write(format!("{value}\n").as_bytes())
    }
}

/// A diagnostic, on a line of its own.
pub fn note(text: impl AsRef<str>) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Text that has its line ends already, on standard error.
pub fn note_raw(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// True when a person sees standard error: the place for progress bars and questions.
pub fn person_watches() -> bool {
    io::stderr().is_terminal()
}
