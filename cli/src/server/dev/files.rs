//! What `dev` leaves for others: the key, `dev.env`, and a context that the command line finds by itself.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use eventflow_broker::{
    domain::access::{Grants, Role},
    identity::{ApiKey, Environment, Installed, install_key, install_user},
    store::{DatabaseUrl, connect, keys},
};

use crate::{
    failure::{Failure, Result},
    target::contexts::{Context, Contexts, write_private},
};

const ORGANIZATION: &str = "dev";
const CONTEXT: &str = "dev";
const ENV_FILE: &str = "dev.env";

const ADMIN: &str = "admin@localhost";

/// A running `dev`.
pub(super) struct Instance {
    pub(super) dir: PathBuf,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) database_url: String,
    pub(super) api_key: String,
    /// Password of the admin, unless nobody knows it any more.
    pub(super) admin_password: Option<String>,
}

/// The key of the directory: that of an earlier start, or a new one. It is in the database when this returns.
pub(super) async fn key(dir: &Path, url: &DatabaseUrl) -> Result<String> {
    let known = known_key(dir)?;
    let key = known.unwrap_or_else(|| ApiKey::generate(Environment::Live));
    let connection = connect::connect(url, "dev").await?;
    let id = key.id().to_string();
    // The data may be younger than the file beside it, when somebody has deleted them.
    if keys::find(connection.client(), &id).await?.is_none() {
        let description = "made by `eventflow dev`";
        install_key(connection.client(), ORGANIZATION, &key, description, &Grants::everything()).await?;
    }
    Ok(key.reveal())
}

/// The password of the directory's admin: that of an earlier start, or a new one. None: there is an admin, and the file beside
/// the data that knew the password is gone.
pub(super) async fn admin(dir: &Path, url: &DatabaseUrl) -> Result<Option<String>> {
    let known = known(dir, "EVENTFLOW_ADMIN_PASSWORD")?;
    // A key is random text, and half of one is enough.
    let password = known.clone().unwrap_or_else(|| ApiKey::generate(Environment::Test).reveal()[21..45].to_owned());
    let connection = connect::connect(url, "dev").await?;
    let installed = install_user(connection.client(), ORGANIZATION, (ADMIN, Role::Admin), &password).await?;
    Ok(if installed == Installed::Now { Some(password) } else { known })
}

fn known_key(dir: &Path) -> Result<Option<ApiKey>> {
    Ok(known(dir, "EVENTFLOW_API_KEY")?.and_then(|key| ApiKey::parse(&key)))
}

/// A variable of the file that an earlier start wrote.
fn known(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(ENV_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file("read", &path, &error)),
    };
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(value.map(|value| value.trim_matches('\'').to_owned()))
}

impl Instance {
    /// Where clients find the broker.
    pub(super) fn url(&self) -> String {
        client_url(self.grpc)
    }

    pub(super) fn env_file(&self) -> PathBuf {
        self.dir.join(ENV_FILE)
    }

    /// Writes the files; returns where the context is, if there is a place for it.
    pub(super) fn write(&self) -> Result<Option<PathBuf>> {
        let url = self.url();
        let mut variables = vec![
            ("EVENTFLOW_URL", url.as_str()),
            ("EVENTFLOW_API_KEY", &self.api_key),
            ("EVENTFLOW_DATABASE_URL", &self.database_url),
        ];
        if let Some(password) = &self.admin_password {
            variables.extend([("EVENTFLOW_ADMIN_EMAIL", ADMIN), ("EVENTFLOW_ADMIN_PASSWORD", password.as_str())]);
        }
        write_private(&self.env_file(), &env_text(&variables))?;
        if crate::environment::config_dir().is_none() {
            return Ok(None);
        }
        let mut contexts = Contexts::load()?;
        contexts.put(CONTEXT, Context::new(self.url(), Some(self.api_key.clone())));
        contexts.make_current(CONTEXT)?;
        contexts.save().map(Some)
    }
}

/// A wildcard address is no destination.
pub fn client_url(grpc: SocketAddr) -> String {
    let host = if grpc.ip().is_unspecified() { format!("localhost:{}", grpc.port()) } else { grpc.to_string() };
    format!("eventflow://{host}?tls=off")
}

/// Lines that a shell can read: `set -a; . FILE`.
fn env_text(variables: &[(&str, &str)]) -> String {
    variables.iter().map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r"'\''"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_again_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(known_key(dir.path()).unwrap().is_none());
        let key = ApiKey::generate(Environment::Live);
        let text = env_text(&[("EVENTFLOW_URL", "x"), ("EVENTFLOW_API_KEY", &key.reveal())]);
        fs::write(dir.path().join(ENV_FILE), text).unwrap();
        assert_eq!(known_key(dir.path()).unwrap(), Some(key));
    }

    #[test]
    fn a_shell_reads_what_was_meant() {
        assert_eq!(env_text(&[("A", "it's & so")]), "A='it'\\''s & so'\n");
    }

    #[test]
    fn a_broker_on_all_addresses_is_reached_at_this_machine() {
        let anywhere: SocketAddr = "0.0.0.0:5000".parse().unwrap();
        assert_eq!(client_url(anywhere), "eventflow://localhost:5000?tls=off");
    }
}
