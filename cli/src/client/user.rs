//! `eventflow user`: the people of an organization, for its admins.

use eventflow::users::{Invited, Role, UserChange, UserInfo, Users};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::sure::be_sure;
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Listing, Output, note, since},
    target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Users, their roles, and when they signed in last
    List,
    /// Make a user; the invitation is shown once: hand it to them, for `eventflow accept`
    Invite {
        email: String,
        #[arg(long, default_value = "")]
        name: String,
        /// What they may do
        #[arg(long, value_enum)]
        role: RoleName,
    },
    /// Change role or name, or bar somebody from signing in
    Update {
        email: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long, value_enum)]
        role: Option<RoleName>,
        /// true bars them, false lets them in again
        #[arg(long, value_name = "BOOL")]
        disabled: Option<bool>,
    },
    /// End somebody's password and sessions; the invitation to set another password is shown once
    Reset {
        email: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove a user and end their sessions; API keys that they made stay
    Remove {
        email: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum RoleName {
    /// Look at streams and groups, and read events
    Viewer,
    /// Also publish, consume, and manage streams and groups
    Editor,
    /// Also manage API keys and users
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Self::Viewer,
            RoleName::Editor => Self::Editor,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// A role as people write it.
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Editor => "editor",
        Role::Admin => "admin",
        _ => "unknown",
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let users = target.connect().await?.users();
    let mut out = output.open();
    match verb {
        Verb::List => {
            let found: Vec<_> = users.list().try_collect().await?;
            out.list(&listing(&found))
        }
        Verb::Invite { email, name, role } => show_once(&users.invite(&email, &name, role.into()).await?, &mut out),
        Verb::Update { email, name, role, disabled } => {
            let user = named(&users, &email).await?;
            let change = UserChange { name, role: role.map(Into::into), disabled };
            let user = users.update(&user.id, change).await?;
            out.object(&object(&user), |_| format!("{}: {}, {}\n", user.email, role_word(user.role), state(&user)))
        }
        Verb::Reset { email, yes } => {
            let user = named(&users, &email).await?;
            be_sure(yes, &format!("end the password and sessions of {email}"), &email).await?;
            show_once(&users.reset(&user.id).await?, &mut out)
        }
        Verb::Remove { email, yes } => {
            let user = named(&users, &email).await?;
            be_sure(yes, &format!("remove {email}"), &email).await?;
            users.remove(&user.id).await?;
            note(format!("removed {email}"));
            Ok(())
        }
    }
}

/// The user with this address.
async fn named(users: &Users, email: &str) -> Result<UserInfo> {
    let mut list = users.list();
    while let Some(user) = list.try_next().await? {
        if user.email.eq_ignore_ascii_case(email.trim()) {
            return Ok(user);
        }
    }
    let sentence = format!("`{email}` is no user of this organization");
    Err(Failure::new(Exit::NotFound, "USER_NOT_FOUND", sentence).hint("see `eventflow user list`"))
}

/// The token goes to standard output, everything else beside it.
fn show_once(invited: &Invited, out: &mut Output) -> Result<()> {
    let email = &invited.user.email;
    if invited.token.is_empty() {
        let sentence = format!("{email} was invited, but the answer with the invitation was lost");
        let hint = format!("`eventflow user reset {email}` makes another one");
        return Err(Failure::new(Exit::Error, "SECRET_LOST", sentence).hint(hint));
    }
    let mut object = object(&invited.user);
    object["invitation"] = json!(invited.token);
    object["expires"] = json!(since(invited.expire_time));
    out.object(&object, |_| format!("{}\n", invited.token))?;
    let mailed = if invited.mailed { "; a mail to them holds it as well" } else { "" };
    note(format!(
        "hand this to {email}, for `eventflow accept`; it is good once, until {} UTC{mailed}",
        since(invited.expire_time)
    ));
    Ok(())
}

fn state(user: &UserInfo) -> &'static str {
    match (user.disabled, user.invited) {
        (true, _) => "disabled",
        (false, true) => "invited",
        (false, false) => "active",
    }
}

fn object(user: &UserInfo) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": role_word(user.role),
        "state": state(user),
        "created": since(user.create_time),
        "last_login": user.last_login_time.map(since),
    })
}

fn listing(users: &[UserInfo]) -> Listing {
    let columns = ["email", "name", "role", "state", "created (UTC)", "last login (UTC)"];
    let mut listing = Listing::new(&columns).when_empty("no users: `eventflow user invite` makes one");
    for user in users {
        let row = [
            user.email.clone(),
            user.name.clone(),
            role_word(user.role).to_owned(),
            state(user).to_owned(),
            since(user.create_time),
            user.last_login_time.map_or("-".to_owned(), since),
        ];
        listing.add(object(user), row);
    }
    listing
}
