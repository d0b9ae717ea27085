//! Writes the history while the run goes on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Micros, Record};
use crate::Result;

/// Where records go. Cheap to clone; a line is never torn.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    start: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub fn create(path: &Path) -> Result<Recorder> {
        let file = Mutex::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
        Ok(Recorder(Arc::new(Inner { start: Instant::now(), file })))
    }

    /// Microseconds since the start of the run.
    pub fn now(&self) -> Micros {
        self.0.start.elapsed().as_micros() as Micros
    }

    /// Writes a record. A history that cannot be written proves nothing, so failing ends the run.
    pub fn write(&self, record: &Record) {
        let line = serde_json::to_vec(record);
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = line.map_err(std::io::Error::from).and_then(|line| {
            file.write_all(&line)?;
            file.write_all(b"\n")
        });
        if let Err(error) = written {
            panic!("the history cannot be written: {error}");
        }
    }

    /// Everything written so far is in the file when this returns.
    pub fn flush(&self) -> Result<()> {
        Ok(self.0.file.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}
