//! One SMTP server, a connection a letter.

use crate::config::{self, SmtpSecurity};
use crate::domain::{Error, Result};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::time::Duration;

/// For a whole letter, from the name of the server to its last answer.
const LETTER: Duration = Duration::from_secs(20);
/// Characters of what a server says that are logged.
const SAID_MAX: usize = 256;

pub(super) struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

/// Why a letter was not taken.
pub(super) enum Failure {
    /// It may be taken later.
    ForNow(String),
    /// The server will not take it.
    ForGood(String),
}

impl Smtp {
    pub(super) fn new(server: &config::Smtp, from: &Mailbox) -> Result<Self> {
        let parameters = || TlsParameters::new(server.host.clone()).map_err(Error::internal);
        let tls = match server.security {
            SmtpSecurity::Tls => Tls::Wrapper(parameters()?),
            SmtpSecurity::StartTls => Tls::Required(parameters()?),
            SmtpSecurity::Off => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.clone())
            .port(server.port)
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if let Some((user, password)) = server.login.clone() {
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(Self(builder.build()))
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let sent = tokio::time::timeout(LETTER, self.0.send(message.clone())).await;
        let error = match sent {
            Err(_) => return Err(Failure::ForNow(format!("nothing came of it in {} s", LETTER.as_secs()))),
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
        };
        let said = error.to_string().chars().take(SAID_MAX).flat_map(char::escape_debug).collect();
        Err(if error.is_permanent() || error.is_client() { Failure::ForGood(said) } else { Failure::ForNow(said) })
    }
}
