//! Turns raw values into checked ones, and collects every mistake on the way.

use super::{
    error::{ConfigError, Mistake},
    source::{Origin, Raw, Sources},
};
use std::{collections::BTreeMap, fmt::Display, net::SocketAddr, ops::RangeInclusive, time::Duration};

/// Hands out each key once, checked. A wrong value is noted, and a stand-in goes on, so that all mistakes are found.
pub(super) struct Reader {
    values: BTreeMap<String, Raw>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(sources: Sources) -> Self {
        Self { values: sources.values, mistakes: sources.mistakes }
    }

    /// A whole number; `unit` is for the message, such as "bytes".
    pub(super) fn integer(&mut self, key: &str, unit: &str, range: RangeInclusive<i64>) -> i64 {
        let raw = self.take(key);
        let number = match &raw.value {
            toml::Value::Integer(number) => Some(*number),
            toml::Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = range.into_inner();
                self.wrong(key, &raw, format!("must be a whole number of {unit} from {low} to {high}"));
                low
            }
        }
    }

    /// A number of things that fits in memory.
    pub(super) fn size(&mut self, key: &str, unit: &str, range: RangeInclusive<i64>) -> usize {
        usize::try_from(self.integer(key, unit, range)).unwrap_or_default()
    }

    pub(super) fn milliseconds(&mut self, key: &str, range: RangeInclusive<i64>) -> Duration {
        Duration::from_millis(u64::try_from(self.integer(key, "milliseconds", range)).unwrap_or_default())
    }

    pub(super) fn seconds(&mut self, key: &str, range: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(u64::try_from(self.integer(key, "seconds", range)).unwrap_or_default())
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        let raw = self.take(key);
        let text = match &raw.value {
            toml::Value::Boolean(flag) => return *flag,
            toml::Value::String(text) => text.trim(),
            _ => "",
        };
        match text {
            "true" => true,
            "false" => false,
            _ => {
                self.wrong(key, &raw, "must be `true` or `false`");
                false
            }
        }
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        let raw = self.take(key);
        match raw.value {
            toml::Value::String(text) => text,
            _ => {
                self.wrong(key, &raw, "must be text in quotes");
                String::new()
            }
        }
    }

    /// One of a few words; the first stands in after a mistake.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let raw = self.take(key);
        let text = raw.value.as_str().unwrap_or_default();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.wrong(key, &raw, format!("must be one of {}", allowed.join(", ")));
        words[0].1
    }

    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        let raw = self.take(key);
        match raw.value.as_str().map(str::parse) {
            Some(Ok(address)) => address,
            _ => {
                self.wrong(key, &raw, "must be an IP address and a port, such as `127.0.0.1:50051` or `[::]:50051`");
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        }
    }

    /// A mistake about a value that was read already, or about two that do not go together. `shown` keeps secrets out.
    pub(super) fn refuse(&mut self, key: &str, shown: impl Display, allowed: impl Display) {
        self.mistakes.push(Mistake(format!("`{key}` = {shown} {allowed}")));
    }

    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        // A key of the defaults that no section reads is a lie to whoever sets it.
        for key in self.values.keys() {
            self.mistakes.push(Mistake(format!("`{key}` is in the defaults, but nothing reads it")));
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(ConfigError::new(self.mistakes)) }
    }

    fn take(&mut self, key: &str) -> Raw {
        self.values.remove(key).unwrap_or_else(|| {
            self.mistakes.push(Mistake(format!("`{key}` is read, but has no default")));
            Raw { value: toml::Value::Boolean(false), origin: Origin::Default }
        })
    }

    fn wrong(&mut self, key: &str, raw: &Raw, allowed: impl Display) {
        let value = &raw.value;
        self.mistakes.push(Mistake(format!("`{key}` = {value} ({}) {allowed}", raw.origin)));
    }
}
