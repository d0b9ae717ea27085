//! Which broker a command talks to, and with which key.
//!
//! What is said on the command line wins, then the environment, then the current context. A key is never taken from the
//! command line: others can read it there.

pub mod contexts;
pub mod session;

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
        let found = self.find()?;
        let options = self.options(&found)?;
        let options = match self.key(&found)? {
            Some(key) => options.api_key(key),
            // Nobody gave a key: whoever has signed in.
            None => match session::access_token(&found.url, options.clone()).await? {
                Some(token) => options.api_key(token),
                None => options,
            },
        };
        Ok(Client::connect_with(options).await?)
    }

    /// A client without a credential, and the URL that it goes to.
    pub async fn connect_as_nobody(&self) -> Result<(Client, String)> {
        let found = self.find()?;
        Ok((Client::connect_with(self.options(&found)?).await?, found.url))
    }

    fn options(&self, found: &Found) -> Result<ClientOptions> {
        let options = ClientOptions::new(&found.url)?.client_certificate_from_env()?.application("eventflow-cli");
        if options.target().key_in_url() && found.typed {
            note("warning: the API key in the URL can be read by others; use EVENTFLOW_API_KEY or --api-key-file");
        }
        Ok(options)
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
        // Somebody who has signed in there is not the key of the place.
        let of_context = found.context.as_ref().and_then(Context::key_unless_signed_in);
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
