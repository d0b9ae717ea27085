//! Where values come from, before they mean anything: a table of raw values, each with its origin.

use super::error::Mistake;
use std::{collections::BTreeMap, fmt, path::Path};

/// Who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(String),
    Variable(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "in `{path}`"),
            Self::Variable(name) => write!(f, "from `{name}`"),
            Self::CommandLine => write!(f, "from the command line"),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) value: toml::Value,
    pub(super) origin: Origin,
}

/// All sources laid over each other; keys are `section.key`.
pub(super) struct Sources {
    pub(super) values: BTreeMap<String, Raw>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Sources {
    pub(super) fn with_defaults() -> Self {
        let mut sources = Self { values: BTreeMap::new(), mistakes: Vec::new() };
        match super::DEFAULTS.parse::<toml::Table>() {
            Ok(table) => {
                for (key, value) in flatten(table) {
                    sources.values.insert(key, Raw { value, origin: Origin::Default });
                }
            }
            Err(error) => sources.mistake(format!("the embedded defaults are not TOML: {error}")),
        }
        sources
    }

    pub(super) fn add_file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(&shown, &text),
            Err(error) => self.mistake(format!("`{shown}` cannot be read: {error}")),
        }
    }

    pub(super) fn add_text(&mut self, path: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => {
                for (key, value) in flatten(table) {
                    self.set(&key, value, Origin::File(path.to_owned()));
                }
            }
            Err(error) => {
                let text = error.to_string();
                self.mistake(format!("`{path}` is not TOML: {}", text.trim().replace('\n', " ")));
            }
        }
    }

    /// Takes `EVENTFLOW_<SECTION>_<KEY>`. A variable whose first word is no section of ours belongs to somebody else
    /// (`EVENTFLOW_URL` is the client's).
    pub(super) fn add_environment(&mut self, variables: Vec<(String, String)>) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("EVENTFLOW_") else {
                continue;
            };
            let Some((section, key)) = rest.split_once('_') else {
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            if self.has_section(&section) {
                self.set(&format!("{section}.{key}"), toml::Value::String(value), Origin::Variable(name));
            }
        }
    }

    pub(super) fn add_overrides(&mut self, overrides: &[(String, String)]) {
        for (key, value) in overrides {
            self.set(key, toml::Value::String(value.clone()), Origin::CommandLine);
        }
    }

    pub(super) fn mistake(&mut self, line: String) {
        self.mistakes.push(Mistake(line));
    }

    fn set(&mut self, key: &str, value: toml::Value, origin: Origin) {
        match self.values.get_mut(key) {
            Some(raw) => *raw = Raw { value, origin },
            None => {
                let hint = self.nearest(key).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
                self.mistake(format!("`{key}` ({origin}) is not a setting{hint}"));
            }
        }
    }

    fn has_section(&self, section: &str) -> bool {
        self.values.keys().any(|key| key.split('.').next() == Some(section))
    }

    /// A known key of the same name in another section, or one that differs little.
    fn nearest(&self, wrong: &str) -> Option<&str> {
        self.values
            .keys()
            .map(String::as_str)
            .min_by_key(|known| distance(known, wrong))
            .filter(|known| distance(known, wrong) <= 3 || known.rsplit('.').next() == wrong.rsplit('.').next())
    }
}

/// `[section] key = value` becomes `section.key`. A value outside of any section keeps its bare name and is unknown.
fn flatten(table: toml::Table) -> Vec<(String, toml::Value)> {
    let mut flat = Vec::new();
    for (section, value) in table {
        match value {
            toml::Value::Table(keys) => {
                flat.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            value => flat.push((section, value)),
        }
    }
    flat
}

/// Edits between two short words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
