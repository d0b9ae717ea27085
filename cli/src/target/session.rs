//! The session of somebody who has signed in: kept in the context, refreshed when its access token is old.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use eventflow::{Client, ClientOptions, auth::SessionTokens};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::contexts::Contexts;
use crate::{
    clock, environment,
    failure::{Exit, Failure, Result},
};

/// An access token is good for ten minutes; a command should not begin with the end of one.
const FRESH: Duration = Duration::from_secs(8 * 60);

/// Who has signed in, with the tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub organization: String,
    pub email: String,
    access_token: String,
    /// By this machine's clock, seconds since 1970.
    received_at: u64,
    pub refresh_token: String,
}

impl Session {
    pub fn new(organization: &str, email: &str, tokens: &SessionTokens) -> Self {
        Self {
            organization: organization.to_owned(),
            email: email.to_owned(),
            access_token: tokens.access_token.clone(),
            received_at: clock::seconds(),
            refresh_token: tokens.refresh_token.clone(),
        }
    }

    fn is_fresh(&self) -> bool {
        clock::seconds().checked_sub(self.received_at).is_some_and(|age| Duration::from_secs(age) < FRESH)
    }
}

/// An access token for the session of the context with this URL. Another command may do the same at this moment: a refresh token
/// works once, so one of them waits for the other.
pub async fn access_token(url: &str, options: ClientOptions) -> Result<Option<String>> {
    let Some(session) = Contexts::load()?.session(url).cloned() else { return Ok(None) };
    if session.is_fresh() {
        return Ok(Some(session.access_token));
    }
    let _lock = lock().await?;
    let mut contexts = Contexts::load()?;
    let Some(session) = contexts.session(url).cloned() else { return Ok(None) };
    if session.is_fresh() {
        return Ok(Some(session.access_token));
    }
    let refreshed = Client::lazy(options).auth().refresh(&session.refresh_token).await;
    let tokens = match refreshed {
        Ok(tokens) => tokens,
        Err(error) if error.reason() == "SESSION_ENDED" => {
            contexts.set_session(url, None);
            contexts.save()?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let session = Session::new(&session.organization, &session.email, &tokens);
    let token = session.access_token.clone();
    contexts.set_session(url, Some(session));
    contexts.save()?;
    Ok(Some(token))
}

/// Held while tokens change hands.
async fn lock() -> Result<File> {
    let dir = environment::config_dir().ok_or_else(|| {
        Failure::new(Exit::Error, "CONTEXTS", "there is no place for contexts").hint("set HOME or XDG_CONFIG_HOME")
    })?;
    let path = dir.join("contexts.lock");
    let taken = tokio::task::spawn_blocking(move || {
        let failed = |error: std::io::Error| Failure::file("lock", &path, &error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(file)
    });
    taken.await.map_err(|_| Failure::interrupted())?
}
