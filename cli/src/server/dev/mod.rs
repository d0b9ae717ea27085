//! `eventflow dev`: a broker on a Postgres of its own, in one directory, with nothing to set up.

mod files;
mod postgres;
mod words;

use std::{net::SocketAddr, path::PathBuf};

use eventflow_broker::{
    config::Config,
    store::{DatabaseUrl, migrate},
};

use super::running;
use crate::{
    environment,
    failure::{Failure, Result},
    output::note,
};
pub use files::client_url;
pub use postgres::Postgres;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where everything lies; a later start goes on with it [default: eventflow/dev in the user's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the gRPC port [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the port with /livez, /readyz and /metrics [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Directory with Postgres' programs, when it is not found by itself [env: EVENTFLOW_POSTGRES_BIN]
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
    /// Another setting of the broker
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = crate::parse::pair)]
    set: Vec<(String, String)>,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let dir = data_dir(arguments.data_dir.clone())?;
    let mut postgres = Postgres::prepare(&dir, arguments.postgres_bin.clone()).await?;
    // Before Postgres is asked to start: settings that cannot work are known now.
    let config = config(&arguments, &postgres.url())?;
    running::ports_are_free(&config, ["--listen", "--http"])?;
    postgres.start().await?;
    let outcome = serve(config, &dir, &postgres).await;
    let stopped = postgres.stop().await;
    outcome.and(stopped)
}

async fn serve(config: Config, dir: &std::path::Path, postgres: &Postgres) -> Result<()> {
    let url = DatabaseUrl::parse(&postgres.url())?;
    migrate::migrate(&url).await?;
    let key = files::key(dir, &url).await?;
    let admin_password = files::admin(dir, &url).await?;
    let Some(broker) = running::start(config).await? else { return Ok(()) };
    let instance = files::Instance {
        dir: dir.to_owned(),
        grpc: broker.grpc_address(),
        http: broker.http_address(),
        database_url: postgres.url(),
        api_key: key,
        admin_password,
    };
    let context = instance.write()?;
    words::welcome(&instance, &context, postgres)?;
    let outcome = broker.run_unless(postgres.ended()).await;
    if let Some(failure) = postgres.failure() {
        return Err(failure);
    }
    note("stopped; `eventflow dev` goes on with the same data");
    outcome
}

fn data_dir(given: Option<PathBuf>) -> Result<PathBuf> {
    given
        .or_else(|| Some(environment::data_dir()?.join("dev")))
        .ok_or_else(|| Failure::usage("there is no user's data directory here: name a directory with --data-dir"))
}

fn config(arguments: &Arguments, database_url: &str) -> Result<Config> {
    let mut set: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| set.push((key.to_owned(), value));
    put("database.url", database_url.to_owned());
    put("publish.create_missing_streams", "true".to_owned());
    put("accounts.registration", "open".to_owned());
    put("mail.url", "log:".to_owned());
    put("alerts.allow_http", "true".to_owned());
    put("alerts.allow_private_addresses", "true".to_owned());
    put("server.reflection", "open".to_owned());
    put("log.format", "text".to_owned());
    put("log.level", "warn".to_owned());
    if let Some(listen) = arguments.listen {
        put("server.listen", listen.to_string());
    }
    if let Some(http) = arguments.http {
        put("http.listen", http.to_string());
    }
    set.extend(arguments.set.iter().cloned());
    Ok(Config::load(None, &set)?)
}
