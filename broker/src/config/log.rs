//! `[log]`: what the broker says about itself.

use super::reader::Reader;
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object a line.
    Json,
    /// For people.
    Text,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or directives by module.
    pub level: String,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let format = reader.word("log.format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
        let level = reader.text("log.level");
        if let Err(error) = EnvFilter::builder().parse(&level) {
            reader.refuse("log.level", format!("`{level}`"), format!("must be a level or directives: {error}"));
        }
        Self { format, level }
    }
}
