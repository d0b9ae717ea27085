//! Reading a history back.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use super::Record;
use crate::Result;

/// All records of a file.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let file = File::open(path).map_err(|error| format!("`{}` cannot be opened: {error}", path.display()))?;
    read_lines(BufReader::with_capacity(1 << 20, file))
}

/// All records of a text.
pub fn read_lines(text: impl BufRead) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let record = serde_json::from_str(&line?).map_err(|error| format!("line {}: {error}", index + 1))?;
        records.push(record);
    }
    Ok(records)
}

/// Writes records to a file.
pub fn write_all<'a>(path: &Path, records: impl IntoIterator<Item = &'a Record>) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
