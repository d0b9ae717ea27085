//! The optional Redis: one connection of one owner, on which scripts run.
//!
//! Promises: an answer comes within [`PATIENCE`] or is given up, a script is sent once and never repeated by itself, and a
//! failure is a sentence without the password. Whatever goes wrong ends the connection; the next question opens another.
//! Never done here: knowing what a script means, or trusting Redis with anything that must not be lost.

mod tls;

use crate::config;
use crate::domain::{Error, Reason, Result};
use fred::clients::Client;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::{Builder, ConnectHandle, config::Config};
use ring::digest;
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// How long an answer may take. Nobody's call waits for it; until it is given up, brokers do not hear of each other.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How long a new connection may take, with TLS and sign-in.
const CONNECTING: Duration = Duration::from_secs(2);

/// Why there is no answer, for people.
#[derive(Debug)]
pub struct Away(String);

impl From<fred::error::Error> for Away {
    /// The library shows a failure of the operating system as a structure; the sentence in it is enough.
    fn from(error: fred::error::Error) -> Self {
        let details = error.details();
        let sentence = details.split_once("message: \"").and_then(|(_, rest)| rest.split('"').next());
        Self(sentence.unwrap_or(details).to_owned())
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Lua script: keys and whole numbers in, whole numbers out.
pub struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub fn new(text: &'static str) -> Self {
        // Redis names scripts by SHA-1; nothing rests on its strength.
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        Self { text, hash: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

/// One Redis.
pub struct Redis {
    config: Config,
    place: String,
    open: Option<Open>,
}

/// A connection, and the task of the client library that drives it.
struct Open {
    client: Client,
    driver: ConnectHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Redis {
    /// Connects to nothing yet; the error is a setting that cannot be used.
    pub fn new(settings: &config::Redis) -> Result<Self> {
        // The library would take the system's roots, and fail without any.
        let plain = settings.url.replacen("rediss://", "redis://", 1);
        let mut config = Config::from_url_centralized(&plain).map_err(|_| {
            let what = "`redis.url` cannot be understood; write `redis://user:password@host:port/database`, with special \
                        characters of the password as `%XX`";
            Error::new(Reason::InvalidArgument, what)
        })?;
        if plain != settings.url {
            config.tls = Some(tls::client_config(settings)?.into());
        }
        let hosts = config.server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let place = format!("{hosts}/{}", config.database.unwrap_or_default());
        Ok(Self { config, place, open: None })
    }

    /// Host, port and database, for people.
    pub fn describe(&self) -> &str {
        &self.place
    }

    /// Whether it answers.
    pub async fn check(&mut self) -> Result<(), Away> {
        self.run(&Script::new("return {}"), Vec::new(), Vec::new()).await.map(drop)
    }

    /// Runs a script, and loads it when Redis does not know it.
    pub async fn run(&mut self, script: &Script, keys: Vec<String>, numbers: Vec<i64>) -> Result<Vec<i64>, Away> {
        let client = self.client().await?;
        let asked = async {
            let known = client.evalsha(script.hash.as_str(), keys.clone(), numbers.clone()).await;
            match known {
                Err(error) if error.details().starts_with("NOSCRIPT") => client.eval(script.text, keys, numbers).await,
                answer => answer,
            }
        };
        let answer = match timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(Away::from),
            Err(_) => Err(Away(format!("no answer within {} ms", PATIENCE.as_millis()))),
        };
        if answer.is_err() {
            // What this connection still owes is no answer to the next question.
            self.open = None;
        }
        answer
    }

    async fn client(&mut self) -> Result<Client, Away> {
        if self.open.as_ref().is_none_or(|open| open.driver.is_finished()) {
            self.open = None;
            self.open = Some(self.connect().await?);
        }
        self.open.as_ref().map(|open| open.client.clone()).ok_or_else(|| Away("not connected".to_owned()))
    }

    /// Without the library's own reconnecting: a script in flight must not be sent again.
    async fn connect(&self) -> Result<Open, Away> {
        let mut builder = Builder::from_config(self.config.clone());
        builder.with_connection_config(|connection| {
            connection.connection_timeout = CONNECTING;
            connection.internal_command_timeout = CONNECTING;
            connection.max_command_attempts = 1;
            connection.tcp.nodelay = Some(true);
        });
        let client = builder.build().map_err(Away::from)?;
        let mut open = Open { driver: client.connect(), client };
        tokio::select! {
            ended = &mut open.driver => match ended {
                Ok(Err(error)) => Err(error.into()),
                _ => Err(Away("the connection ended at once".to_owned())),
            },
            // Sent when the connection stands.
            answer = timeout(CONNECTING, open.client.ping::<String>(None)) => match answer {
                Ok(Ok(_)) => Ok(open),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(Away(format!("no connection within {} s", CONNECTING.as_secs()))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_no_password() {
        let settings = |url: &str| config::Redis { url: url.to_owned(), ca: None, client: None };
        let redis = Redis::new(&settings("redis://app:hunter2@cache.example:6380/3")).expect("valid");
        assert_eq!(redis.describe(), "cache.example:6380/3");
        let error = Redis::new(&settings("redis://app:hunter2@cache.example:port")).err().expect("no port");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_script_is_named_as_redis_names_it() {
        assert_eq!(Script::new("return 1").hash, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
