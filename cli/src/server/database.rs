//! The database that an operator names.

use eventflow_broker::store::DatabaseUrl;

use crate::failure::Result;

#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// Postgres, such as postgres://user@host/eventflow; best set as the variable, because it may hold a password
    #[arg(long, env = "EVENTFLOW_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

impl Arguments {
    pub fn url(&self) -> Result<DatabaseUrl> {
        Ok(DatabaseUrl::parse(&self.database_url)?)
    }
}
