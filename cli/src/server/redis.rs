//! The Redis that an operator names, as brokers' settings do.

use std::path::PathBuf;

use eventflow_broker::{config, redis::Redis};

use crate::failure::Result;

#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// Redis that brokers share their rates through, as in their redis.url; best set as the variable
    #[arg(long, env = "EVENTFLOW_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// PEM file of the authorities of its certificate; the system's when not given
    #[arg(long, env = "EVENTFLOW_REDIS_CA_FILE", value_name = "FILE")]
    redis_ca_file: Option<PathBuf>,
    /// PEM file of a certificate to show it
    #[arg(
        long,
        env = "EVENTFLOW_REDIS_CLIENT_CERTIFICATE_FILE",
        value_name = "FILE",
        requires = "redis_client_key_file"
    )]
    redis_client_certificate_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, env = "EVENTFLOW_REDIS_CLIENT_KEY_FILE", value_name = "FILE")]
    redis_client_key_file: Option<PathBuf>,
}

impl Arguments {
    /// `None` when none is named.
    pub fn open(self) -> Result<Option<Redis>> {
        let Some(url) = self.redis_url.filter(|url| !url.is_empty()) else { return Ok(None) };
        let client = self.redis_client_certificate_file.zip(self.redis_client_key_file);
        Ok(Some(Redis::new(&config::Redis { url, ca: self.redis_ca_file, client })?))
    }
}
