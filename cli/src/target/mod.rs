//! Which broker a command talks to, and with which key.
//!
//! What is said on the command line wins, then the environment, then the current context. A key is never taken from the
//! command line: others can read it there.

pub mod contexts;

use std::path::PathBuf;

use eventflow::{Client, ClientOptions};

use crate::{
    environment,
    failure::{Failure, Result},
    output::note,
};
use contexts::{Context, Contexts};

const DEFAULT_URL: &str = "eventflow://localhost:50051";

#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Connection")]
pub struct Arguments {
    /// Brokers, such as eventflow://host1:50051,host2:50051?tls=on [env: EVENTFLOW_URL]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "context")]
    url: Option<String>,
    /// A saved context instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// File with the API key; otherwise EVENTFLOW_API_KEY or the context's
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl Arguments {
    /// A client, connected.
    pub async fn connect(&self) -> Result<Client> {
        Ok(Client::connect_with(self.options()?.application("eventflow-cli")).await?)
    }

    /// A client that connects when it is first used.
    pub fn options(&self) -> Result<ClientOptions> {
        let found = self.find()?;
        let options = ClientOptions::new(&found.url)?.client_certificate_from_env()?;
        if options.target().key_in_url() && found.typed {
            note("warning: the API key in the URL can be read by others; use EVENTFLOW_API_KEY or --api-key-file");
        }
        Ok(match self.key(&found)? {
            Some(key) => options.api_key(key),
            None => options,
        })
    }

    fn find(&self) -> Result<Found> {
        if let Some(url) = &self.url {
            // The context of the same brokers knows the key.
            let context = Contexts::load()?.with_url(url).cloned();
            return Ok(Found { url: url.clone(), context, typed: true, named: false });
        }
        if let Some(name) = &self.context {
            let context = Contexts::load()?.get(name)?.clone();
            return Ok(Found { url: context.url.clone(), context: Some(context), typed: false, named: true });
        }
        if let Some(url) = environment::url() {
            let context = Contexts::load()?.with_url(&url).cloned();
            return Ok(Found { url, context, typed: true, named: false });
        }
        let context = Contexts::load()?.current().cloned();
        let url = context.as_ref().map_or(DEFAULT_URL, |context| &context.url).to_owned();
        Ok(Found { url, context, typed: false, named: false })
    }

    fn key(&self, found: &Found) -> Result<Option<String>> {
        if let Some(path) = &self.api_key_file {
            return read_key(path).map(Some);
        }
        let of_context = found.context.as_ref().and_then(Context::key);
        // A context that was named brings its own key; otherwise the environment knows better.
        Ok(if found.named { of_context.or_else(environment::api_key) } else { environment::api_key().or(of_context) })
    }
}

struct Found {
    url: String,
    context: Option<Context>,
    /// The URL came from where others may read it.
    typed: bool,
    /// The context was asked for by name.
    named: bool,
}

/// A key from a file: its first line.
pub fn read_key(path: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() {
        return Err(Failure::usage(format!("`{}` holds no API key", path.display())));
    }
    Ok(key.to_owned())
}
