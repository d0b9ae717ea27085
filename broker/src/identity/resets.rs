//! Passwords that people have forgotten.
//!
//! **Invariants:** asking never tells whether there is an account: the call counts against its throttle, hands the question to
//! [`Desk`] and answers, whoever it is about; only the desk looks, once a second, so that nothing about the answer or the time of
//! this call or the next one depends on what it finds. A token works once, for half an hour, and is stored as its SHA-256; the old
//! password goes on until then; all sessions end with it.

use super::audit::Refusals;
use super::sessions::{Sessions, digest, secret};
use super::throttle::Throttle;
use crate::domain::audit::Origin;
use crate::domain::password::check_password;
use crate::domain::user::reset_invalid;
use crate::domain::{Reason, Result};
use crate::mail::{Letter, Mail, Occasion, crowded};
use crate::store::{Store, resets as stored};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How long a token works.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Questions that wait for the desk; more are refused, whoever they are about.
const WAITING_MAX: usize = 1_024;
/// Between looks.
const LOOK: Duration = Duration::from_secs(1);

/// Somebody wants another password for an account that there may be.
pub(super) struct Question {
    organization: String,
    email: String,
    origin: Origin,
}

/// Answers questions for another password by mail; run it as a task.
pub struct Desk {
    store: Store,
    mail: Mail,
    refusals: Refusals,
    questions: mpsc::Receiver<Question>,
}

impl Desk {
    pub(super) fn new(store: Store, mail: Mail, refusals: Refusals) -> (mpsc::Sender<Question>, Self) {
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        (sender, Self { store, mail, refusals, questions })
    }

    /// Answers what has come in, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            while let Ok(question) = self.questions.try_recv() {
                if let Err(error) = self.answer(&question).await {
                    tracing::warn!(?error, "a reset was not made; whoever asked for it can ask again");
                }
            }
        }
    }

    async fn answer(&self, question: &Question) -> Result<()> {
        let Question { organization, email, origin } = question;
        let token = secret("ef_reset_");
        let account = (organization.as_str(), email.as_str());
        let found = stored::request(&**self.store.conn().await?, account, &digest(&token), LIFETIME, origin).await?;
        if !found {
            self.refusals.sign_in(organization, email, origin, Reason::UserNotFound);
            return Ok(());
        }
        let letter = Letter { occasion: Occasion::Reset, organization, email, token: &token, good_for: "30 minutes" };
        self.mail.post(&letter);
        Ok(())
    }
}

impl Sessions {
    /// Has a token for another password mailed to the account, if there is one that may sign in.
    pub async fn request_reset(&self, organization: String, email: &str, origin: Origin) -> Result<()> {
        self.mail.check()?;
        let email = email.trim().to_lowercase();
        let throttle = Throttle::of_reset(&organization, &email, &origin.address);
        throttle.check(&self.store).await?;
        throttle.failed(&self.store).await?;
        // What no account could be named is asked for as nobody, so that it takes as long.
        let sound = !organization.contains('\0') && !email.contains('\0');
        let (organization, email) = if sound { (organization, email) } else { (String::new(), String::new()) };
        self.questions.try_send(Question { organization, email, origin }).map_err(|_| crowded())
    }

    /// Sets the password of whoever was sent the token, and ends their sessions.
    pub async fn reset_password(&self, token: &str, password: String, origin: &Origin) -> Result<()> {
        check_password("new_password", &password, None)?;
        let throttle = Throttle::of_address(&origin.address);
        throttle.check(&self.store).await?;
        let hash = self.passwords.hash(password).await?;
        let reset = stored::carry_out(&**self.store.conn().await?, &digest(token), &hash, origin).await?;
        if reset.is_none() {
            throttle.failed(&self.store).await?;
            return Err(reset_invalid());
        }
        // Their sessions have ended in the database; brokers find out within seconds.
        Ok(())
    }
}
