//! Saved contexts: a name for brokers and a key, in a file that only its owner can read.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::{
    environment,
    failure::{Exit, Failure, Result},
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
}

impl Context {
    pub fn new(url: impl Into<String>, api_key: Option<String>) -> Self {
        Self { url: url.into(), api_key, session: None }
    }

    pub fn key(&self) -> Option<String> {
        self.api_key.clone()
    }

    /// The key, while nobody has signed in.
    pub fn key_unless_signed_in(&self) -> Option<String> {
        if self.session.is_some() { None } else { self.key() }
    }
}

impl Contexts {
    /// The saved contexts; none when nothing was saved yet.
    pub fn load() -> Result<Self> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file("read", &path, &error)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let sentence = format!("`{}` is not a file of contexts", path.display());
            Failure::new(Exit::Configuration, "CONTEXTS", sentence)
                .cause(error.message())
                .hint("correct it, or delete it and add contexts anew with `eventflow context add`")
        })
    }

    /// Writes the file as a whole, readable by its owner only. Returns where it is.
    pub fn save(&self) -> Result<PathBuf> {
        let path = path().ok_or_else(|| {
            Failure::new(Exit::Error, "CONTEXTS", "there is no place for contexts").hint("set HOME or XDG_CONFIG_HOME")
        })?;
        let text = toml::to_string(self).map_err(|error| Failure::new(Exit::Error, "CONTEXTS", error.to_string()))?;
        write_private(&path, &text)?;
        Ok(path)
    }

    pub fn current_name(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub fn current(&self) -> Option<&Context> {
        self.contexts.get(self.current.as_ref()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Context)> {
        self.contexts.iter()
    }

    pub fn with_url(&self, url: &str) -> Option<&Context> {
        self.contexts.values().find(|context| context.url == url)
    }

    /// The session of the context with this URL.
    pub fn session(&self, url: &str) -> Option<&Session> {
        self.with_url(url)?.session.as_ref()
    }

    /// Changes the session of the context with this URL; one is made when there is none.
    pub fn set_session(&mut self, url: &str, session: Option<Session>) {
        match (self.contexts.values_mut().find(|context| context.url == url), session) {
            (Some(context), session) => context.session = session,
            (None, Some(session)) => {
                let name = self.free_name(&session.organization);
                self.contexts.insert(name.clone(), Context { session: Some(session), ..Context::new(url, None) });
                self.current.get_or_insert(name);
            }
            (None, None) => {}
        }
    }

    /// A name that no context has: what is wished for, or with a number.
    fn free_name(&self, wished: &str) -> String {
        let numbered = (2..).map(|number| format!("{wished}-{number}"));
        let mut names = std::iter::once(wished.to_owned()).chain(numbered);
        names.find(|name| !self.contexts.contains_key(name)).unwrap_or_default()
    }

    pub fn get(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => "there is none yet: `eventflow context add` makes one, and so does `eventflow dev`".to_owned(),
                known => format!("known are {}", known.join(", ")),
            };
            Failure::new(Exit::NotFound, "CONTEXT_NOT_FOUND", format!("no context `{name}`")).hint(hint)
        })
    }

    pub fn put(&mut self, name: &str, context: Context) {
        self.contexts.insert(name.to_owned(), context);
    }

    pub fn remove(&mut self, name: &str) {
        self.contexts.remove(name);
        if self.current.as_deref() == Some(name) {
            self.current = None;
        }
    }

    pub fn make_current(&mut self, name: &str) -> Result<()> {
        self.get(name)?;
        self.current = Some(name.to_owned());
        Ok(())
    }
}

fn path() -> Option<PathBuf> {
    Some(environment::config_dir()?.join("contexts.toml"))
}

/// Replaces a file that only its owner may read: a reader sees the old text or the new one, never half of it.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| Failure::file("write", path, &error);
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    // A leftover of an earlier process of the same number would keep its own mode.
    let _ = fs::remove_file(&beside);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&beside, path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn contexts_survive_a_round_trip() {
        let mut contexts = Contexts::default();
        contexts.put("dev", Context::new("eventflow://localhost", Some("ef_live_x".into())));
        contexts.make_current("dev").unwrap();
        let text = toml::to_string(&contexts).unwrap();
        assert_eq!(Contexts::parse(Path::new("contexts.toml"), &text), Ok(contexts));
    }

    #[test]
    fn a_damaged_file_is_named_with_its_cure() {
        let failure = Contexts::parse(Path::new("contexts.toml"), "current = [").unwrap_err();
        assert!(failure.text().contains("contexts.toml"), "{}", failure.text());
        assert_eq!(failure.exit(), Exit::Configuration);
    }

    #[test]
    fn the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/contexts.toml");
        write_private(&path, "x").unwrap();
        write_private(&path, "y").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "y");
    }
}
