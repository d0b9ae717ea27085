//! Mail to people: invitations, and resets of passwords.
//!
//! Promises: who asks for a letter does not wait for the mail server; what waits is bounded, and so is what is tried again; a
//! letter that was given up is counted and logged without its secret. A letter is made of an address, the name of one
//! organization and a token, and of nothing that somebody typed besides, so that nobody writes to strangers through us. Never
//! here: who may have a letter, and what its token opens (`identity`).

mod letter;
mod smtp;

pub use letter::{Letter, Occasion};

use crate::config::{self, MailServer};
use crate::domain::{Applied, Error, Reason, Result};
use crate::telemetry::metrics;
use futures_util::{FutureExt, StreamExt, stream};
use lettre::message::{Mailbox, Message};
use smtp::{Failure, Smtp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Letters that wait; more are refused.
const WAITING_MAX: usize = 256;
/// Letters on their way at once.
const AT_ONCE: usize = 4;
/// Before a letter is tried again. After the last one it is given up.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// For letters that are on their way when the broker stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whether a letter is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    Yes,
    /// There is no mail here, no room, or no such address.
    No,
}

/// Where letters are handed in; nowhere, where there is no mail. Cheap to clone.
#[derive(Clone)]
pub struct Mail(Option<Arc<Counter>>);

struct Counter {
    letters: mpsc::Sender<(Message, Occasion)>,
    from: Mailbox,
    link_url: Option<String>,
}

/// Carries what was handed in; run it as a task.
pub struct Postman {
    letters: mpsc::Receiver<(Message, Occasion)>,
    /// `None`: into the log.
    smtp: Option<Smtp>,
}

impl Mail {
    /// Mail as it is configured, and who carries it.
    pub fn open(settings: &config::Mail) -> Result<(Self, Option<Postman>)> {
        if settings.server == MailServer::None {
            return Ok((Self(None), None));
        }
        let from: Mailbox =
            settings.from.parse().map_err(|error| Error::invalid("mail.from", format!("is no address: {error}")))?;
        let smtp = match &settings.server {
            MailServer::None | MailServer::Log => None,
            MailServer::Smtp(server) => Some(Smtp::new(server, &from)?),
        };
        let (sender, letters) = mpsc::channel(WAITING_MAX);
        let counter = Counter { letters: sender, from, link_url: settings.link_url.clone() };
        Ok((Self(Some(Arc::new(counter))), Some(Postman { letters, smtp })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses where a letter could not be handed in, whoever it is for.
    pub fn check(&self) -> Result<()> {
        let counter = self.0.as_ref().ok_or_else(not_configured)?;
        if counter.letters.capacity() == 0 { Err(crowded()) } else { Ok(()) }
    }

    /// Hands a letter in, without waiting. One that cannot be is given up.
    pub fn post(&self, letter: &Letter<'_>) -> Posted {
        let Some(counter) = &self.0 else { return Posted::No };
        let Some(message) = letter.message(&counter.from, counter.link_url.as_deref()) else {
            give_up(letter.occasion, "the address is none that mail could go to");
            return Posted::No;
        };
        if counter.letters.try_send((message, letter.occasion)).is_err() {
            give_up(letter.occasion, "too many letters wait");
            return Posted::No;
        }
        Posted::Yes
    }
}

impl Postman {
    /// Carries letters until told to stop; those that wait then are tried once, for two seconds.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let (smtp, stop) = (self.smtp, &stop);
        let mut letters = ReceiverStream::new(self.letters);
        let mut stopping = Box::pin(stop.cancelled()).fuse();
        let letters = stream::poll_fn(move |context| {
            if stopping.poll_unpin(context).is_ready() {
                letters.close();
            }
            letters.poll_next_unpin(context)
        });
        let all =
            letters.for_each_concurrent(AT_ONCE, |(message, occasion)| carry(smtp.as_ref(), message, occasion, stop));
        tokio::select! {
            () = all => {}
            () = late(stop) => tracing::warn!("stopping: some letters were left behind"),
        }
        Ok(())
    }
}

/// When a mail server that does not answer may hold up the end no longer.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

async fn carry(smtp: Option<&Smtp>, message: Message, occasion: Occasion, stop: &CancellationToken) {
    let Some(smtp) = smtp else {
        let text = String::from_utf8_lossy(&message.formatted()).replace('\r', "");
        tracing::warn!("mail that is not sent, because `mail.url` is `log:`\n{text}");
        return metrics::get().mails.increment(1);
    };
    let mut pauses = PAUSES.iter();
    loop {
        let why = match smtp.send(&message).await {
            Ok(()) => return metrics::get().mails.increment(1),
            Err(Failure::ForGood(why)) => return give_up(occasion, &why),
            Err(Failure::ForNow(why)) => why,
        };
        let Some(pause) = pauses.next() else { return give_up(occasion, &why) };
        tracing::debug!(?occasion, why, "a letter was not taken; trying again");
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = stop.cancelled() => return give_up(occasion, &why),
        }
    }
}

fn give_up(occasion: Occasion, why: &str) {
    metrics::get().failed_mails.increment(1);
    tracing::warn!(?occasion, why, "a letter was given up");
}

fn not_configured() -> Error {
    let message = "this broker sends no mail; ask an admin of your organization for a reset";
    Error::new(Reason::MailNotConfigured, message).applied(Applied::No)
}

/// More letters wait than the mail server takes. Also said when too many people ask for one.
pub fn crowded() -> Error {
    Error::new(Reason::Overloaded, "too many letters wait for the mail server; try again")
        .retry_after(Duration::from_secs(5))
        .applied(Applied::No)
}
