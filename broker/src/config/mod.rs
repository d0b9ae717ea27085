//! The broker's settings: one file per section, one embedded file of defaults that is also their reference.
//!
//! Promises: later sources win (defaults, file, environment, command line); an unknown key is a mistake; all mistakes are
//! reported at once, each in a line that names the key, the value and what is allowed. The environment is read here and
//! nowhere else. Never done here: opening files that a setting names, or anything at run time.

mod accounts;
mod alerts;
mod broker;
mod database;
mod delivery;
mod environment;
mod error;
mod groups;
mod http;
mod jobs;
mod limits;
mod log;
mod mail;
mod publish;
mod reader;
mod redis;
mod server;
mod shutdown;
mod source;

pub use self::{
    accounts::{Accounts, Registration},
    alerts::Alerts,
    broker::Broker,
    database::Database,
    delivery::Delivery,
    error::{ConfigError, Mistake},
    groups::Groups,
    http::Http,
    jobs::Jobs,
    limits::Limits,
    log::{Log, LogFormat},
    mail::{Mail, MailServer, Smtp, SmtpSecurity},
    publish::Publish,
    redis::Redis,
    server::{Reflection, Server, TlsFiles},
    shutdown::Shutdown,
};

use reader::Reader;
use source::Sources;
use std::path::Path;

/// The reference of all settings: each with its unit, its default, and when to change it.
pub const DEFAULTS: &str = include_str!("../../eventflow.default.toml");

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub broker: Broker,
    pub server: Server,
    pub http: Http,
    pub database: Database,
    /// `None`: brokers share nothing but Postgres.
    pub redis: Option<Redis>,
    pub publish: Publish,
    pub delivery: Delivery,
    pub groups: Groups,
    pub jobs: Jobs,
    pub limits: Limits,
    pub accounts: Accounts,
    pub mail: Mail,
    pub alerts: Alerts,
    pub shutdown: Shutdown,
    pub log: Log,
}

impl Config {
    /// Reads the defaults, then `file`, then the environment, then `overrides` (`("section.key", "value")`).
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut sources = Sources::with_defaults();
        if let Some(path) = file {
            sources.add_file(path);
        }
        sources.add_environment(environment::variables());
        sources.add_overrides(overrides);
        Self::check(sources)
    }

    /// The defaults and `overrides` only: what a test starts from.
    pub fn from_overrides(overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let owned: Vec<_> = overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let mut sources = Sources::with_defaults();
        sources.add_overrides(&owned);
        Self::check(sources)
    }

    fn check(sources: Sources) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources);
        let config = Self {
            broker: Broker::read(&mut reader),
            server: Server::read(&mut reader),
            http: Http::read(&mut reader),
            database: Database::read(&mut reader),
            redis: Redis::read(&mut reader),
            publish: Publish::read(&mut reader),
            delivery: Delivery::read(&mut reader),
            groups: Groups::read(&mut reader),
            jobs: Jobs::read(&mut reader),
            limits: Limits::read(&mut reader),
            accounts: Accounts::read(&mut reader),
            mail: Mail::read(&mut reader),
            alerts: Alerts::read(&mut reader),
            shutdown: Shutdown::read(&mut reader),
            log: Log::read(&mut reader),
        };
        reader.finish().map(|()| config)
    }
}

#[cfg(test)]
mod tests;
