//! `eventflow register`, `login`, `logout`, `whoami`, `password`, `accept`: a person's own account.

use eventflow::auth::{NewOrganization, Who};
use serde_json::json;

use super::{secret, user::role_word};
use crate::{
    failure::{Failure, Result},
    output::{self, note},
    target::{self, contexts::Contexts, session::Session},
};

/// What signs in, as lists of sessions say it.
const APPLICATION: &str = concat!("eventflow ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, clap::Args)]
pub struct Login {
    /// Name of the organization [default: that of the last sign-in there]
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// Address of the account [default: that of the last sign-in there]
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    target: target::Arguments,
}

#[derive(Debug, clap::Args)]
pub struct Register {
    /// Name of the organization, for signing in: 3 to 63 of a-z, 0-9 and `-`
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// What people call the organization
    #[arg(long, value_name = "NAME", default_value = "")]
    display_name: String,
    /// Your address
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// Your name
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    target: target::Arguments,
}

#[derive(Debug, clap::Args)]
pub struct Logout {
    /// Also all other sessions of the account, wherever they are
    #[arg(long)]
    everywhere: bool,
    #[command(flatten)]
    target: target::Arguments,
}

#[derive(Debug, clap::Args)]
pub struct Password {
    #[command(subcommand)]
    verb: Option<PasswordVerb>,
    #[command(flatten)]
    target: target::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum PasswordVerb {
    /// Have a token for another password mailed to you
    Forgot {
        /// Name of the organization
        #[arg(long, value_name = "NAME")]
        organization: String,
        /// Address of the account
        #[arg(long, value_name = "ADDRESS")]
        email: String,
    },
    /// Set another password with the token of that mail
    Reset,
}

#[derive(Debug, clap::Args)]
pub struct Plain {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

/// Makes an organization, and begins the session of its first admin; the password is typed, or comes from standard input.
pub async fn register(arguments: Register) -> Result<()> {
    let Register { organization, display_name, email, name, target } = arguments;
    let (client, url) = target.connect_as_nobody().await?;
    let password = secret::ask_for_new_password().await?;
    let application = APPLICATION.to_owned();
    let new = NewOrganization { organization, display_name, email, name, password, application };
    let organization = new.organization.clone();
    let (tokens, user) = client.auth().register(new).await?;
    let mut contexts = Contexts::load()?;
    contexts.set_session(&url, Some(Session::new(&organization, &user.email, &tokens)));
    let path = contexts.save()?;
    note(format!("made `{organization}`, and signed in as {} ({})", user.email, role_word(user.role)));
    note(format!("the session is in `{}`, which only you can read", path.display()));
    Ok(())
}

/// Begins a session; the password is typed, or comes from standard input.
pub async fn login(arguments: Login) -> Result<()> {
    let (client, url) = arguments.target.connect_as_nobody().await?;
    let mut contexts = Contexts::load()?;
    let last = contexts.session(&url).cloned();
    let known = |given: Option<String>, last: Option<String>, flag: &str| {
        given.or(last).ok_or_else(|| Failure::usage(format!("{flag} is needed for the first sign-in")))
    };
    let organization =
        known(arguments.organization, last.as_ref().map(|last| last.organization.clone()), "--organization")?;
    let email = known(arguments.email, last.map(|last| last.email), "--email")?;
    let password = secret::ask("password").await?;
    let (tokens, user) = client.auth().login(&organization, &email, &password, APPLICATION).await?;
    contexts.set_session(&url, Some(Session::new(&organization, &user.email, &tokens)));
    let path = contexts.save()?;
    note(format!("signed in to `{organization}` as {} ({})", user.email, role_word(user.role)));
    note(format!("the session is in `{}`, which only you can read", path.display()));
    Ok(())
}

/// Ends the session, here and at the brokers.
pub async fn logout(arguments: Logout) -> Result<()> {
    if arguments.everywhere {
        let ended = arguments.target.connect().await?.auth().logout_everywhere().await?;
        note(format!("ended {ended} sessions"));
    }
    let (client, url) = arguments.target.connect_as_nobody().await?;
    let mut contexts = Contexts::load()?;
    let Some(session) = contexts.session(&url).cloned() else {
        note("nobody was signed in there");
        return Ok(());
    };
    client.auth().logout(&session.refresh_token).await?;
    contexts.set_session(&url, None);
    contexts.save()?;
    note(format!("signed out of `{}`", session.organization));
    Ok(())
}

pub async fn whoami(arguments: Plain) -> Result<()> {
    let caller = arguments.target.connect().await?.auth().caller().await?;
    let organization = &caller.organization;
    let (object, sentence) = match &caller.who {
        Who::ApiKey(id) => {
            (json!({ "organization": organization, "api_key": id }), format!("API key {id} of `{organization}`\n"))
        }
        Who::User(user) => (
            json!({ "organization": organization, "email": user.email, "name": user.name, "role": role_word(user.role) }),
            format!("{} ({}) of `{organization}`\n", user.email, role_word(user.role)),
        ),
        _ => return Err(Failure::usage("the broker knows callers of another kind; update this command")),
    };
    arguments.output.open().object(&object, |_| sentence)
}

/// Changes the password of whoever has signed in, or sets another one for whoever cannot.
pub async fn password(arguments: Password) -> Result<()> {
    let Password { verb, target } = arguments;
    match verb {
        None => change_password(target).await,
        Some(PasswordVerb::Forgot { organization, email }) => {
            let (client, _) = target.connect_as_nobody().await?;
            client.auth().request_password_reset(&organization, &email).await?;
            note(format!("if there is such an account, a mail with a token is on its way to {email}"));
            note("set another password with `eventflow password reset` within half an hour");
            Ok(())
        }
        Some(PasswordVerb::Reset) => {
            let (client, _) = target.connect_as_nobody().await?;
            let token = secret::ask("token of the mail").await?;
            let password = secret::ask_for_new_password().await?;
            client.auth().reset_password(&token, &password).await?;
            note("the password is another one now, and all sessions have ended; sign in with `eventflow login`");
            Ok(())
        }
    }
}

async fn change_password(target: target::Arguments) -> Result<()> {
    let client = target.connect().await?;
    let old = secret::ask("old password").await?;
    let new = secret::ask_for_new_password().await?;
    client.auth().change_password(&old, &new).await?;
    note("the password is another one now, and all other sessions have ended");
    Ok(())
}

/// Sets the password of whoever was invited.
pub async fn accept(arguments: Plain) -> Result<()> {
    let (client, _) = arguments.target.connect_as_nobody().await?;
    let token = secret::ask("invitation").await?;
    let password = secret::ask_for_new_password().await?;
    client.auth().accept_invitation(&token, &password).await?;
    note("the password is set; sign in with `eventflow login`");
    Ok(())
}
