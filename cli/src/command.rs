//! The command line: every verb and noun, and where each leads.

use clap::{CommandFactory, Parser, Subcommand};

use crate::{client, consume, demo, failure::Result, output, publish, server};

/// Event streams on Postgres: a broker, its operation, and a client.
#[derive(Debug, Parser)]
#[command(name = "eventflow", version, arg_required_else_help = true, infer_long_args = true)]
#[command(after_help = "First steps: `eventflow dev` in one terminal, \
    `eventflow publish hello 'first event'` in another.\n\
    Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 unavailable, 64 configuration, 130 interrupted.")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A broker on a private Postgres in one directory, with nothing to set up
    Dev(server::dev::Arguments),
    /// A broker on any Postgres 15 or later; as many as you like on one database
    Serve(server::serve::Arguments),
    /// Bring a database's schema to what this version needs
    Migrate(server::migrate::Arguments),
    /// Brokers, leases, versions, settings and the slowest groups of a database
    Status(server::status::Arguments),
    /// Is this deployment fit for production? Exit code 1 when it is not
    Doctor(server::doctor::Arguments),
    /// What an operator does directly on the database: key create, user create
    Admin(server::admin::Arguments),
    /// Two brokers, 38,094 earthquakes, one broker killed half-way: shows that nothing is lost
    Demo(demo::Arguments),
    /// Streams: create, list, describe, update, delete, add-partitions, purge
    Stream(client::stream::Arguments),
    /// Schemas of a stream's events: register, list, show, check, validate
    Schema(client::schema::Arguments),
    /// Processing rules of a stream: create, list, describe, update, delete, enable, disable, test, status
    Rule(client::rule::Arguments),
    /// Publish an event, or a file of them
    Publish(publish::Arguments),
    /// Read a stream, or join a consumer group
    Consume(consume::Arguments),
    /// Take events of a group call by call, for scripts; `eventflow ack` settles them
    Poll(client::poll::Poll),
    /// Settle events that `eventflow poll` gave: acknowledge, fail, extend
    Ack(client::poll::Ack),
    /// Consumer groups: create, list, describe, seek, pause, resume, delete
    Group(client::group::Arguments),
    /// Events that groups gave up on: list, show, edit, redrive, discard
    Dlq(client::dlq::Arguments),
    /// Alerts on how far groups are behind: create, list, show, update, delete, test, rotate-secret
    Alert(client::alert::Arguments),
    /// How far groups are behind
    Lag(client::lag::Arguments),
    /// What the broker allows
    Limits(client::limits::Arguments),
    /// Saved brokers and keys: list, use, add, remove
    Context(client::context::Arguments),
    /// API keys: create, list, rotate, revoke
    Key(client::key::Arguments),
    /// People: list, invite, update, reset, remove
    User(client::user::Arguments),
    /// Who did what: entries of the audit log
    Audit(client::audit::Arguments),
    /// The organization itself: show, rename
    Org(client::org::Arguments),
    /// Make an organization, where the broker lets everybody, and sign in as its first admin
    Register(client::account::Register),
    /// Sign in; the session is kept with the context
    Login(client::account::Login),
    /// Sign out
    Logout(client::account::Logout),
    /// Whose credential commands have
    Whoami(client::account::Plain),
    /// Change your password, or set another one when you have forgotten it: forgot, reset
    Password(client::account::Password),
    /// Accept an invitation: set your password
    Accept(client::account::Plain),
    /// Print a completion script for a shell
    Completion { shell: clap_complete::Shell },
}

impl Command {
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Dev(arguments) => server::dev::run(arguments).await,
            Self::Serve(arguments) => server::serve::run(arguments).await,
            Self::Migrate(arguments) => server::migrate::run(arguments).await,
            Self::Status(arguments) => server::status::run(arguments).await,
            Self::Doctor(arguments) => server::doctor::run(arguments).await,
            Self::Admin(arguments) => server::admin::run(arguments).await,
            Self::Demo(arguments) => demo::run(arguments).await,
            Self::Stream(arguments) => client::stream::run(arguments).await,
            Self::Schema(arguments) => client::schema::run(arguments).await,
            Self::Rule(arguments) => client::rule::run(arguments).await,
            Self::Publish(arguments) => publish::run(arguments).await,
            Self::Consume(arguments) => consume::run(arguments).await,
            Self::Poll(arguments) => client::poll::poll(arguments).await,
            Self::Ack(arguments) => client::poll::ack(arguments).await,
            Self::Group(arguments) => client::group::run(arguments).await,
            Self::Dlq(arguments) => client::dlq::run(arguments).await,
            Self::Alert(arguments) => client::alert::run(arguments).await,
            Self::Lag(arguments) => client::lag::run(arguments).await,
            Self::Limits(arguments) => client::limits::run(arguments).await,
            Self::Context(arguments) => client::context::run(arguments),
            Self::Key(arguments) => client::key::run(arguments).await,
            Self::User(arguments) => client::user::run(arguments).await,
            Self::Audit(arguments) => client::audit::run(arguments).await,
            Self::Org(arguments) => client::org::run(arguments).await,
            Self::Register(arguments) => client::account::register(arguments).await,
            Self::Login(arguments) => client::account::login(arguments).await,
            Self::Logout(arguments) => client::account::logout(arguments).await,
            Self::Whoami(arguments) => client::account::whoami(arguments).await,
            Self::Password(arguments) => client::account::password(arguments).await,
            Self::Accept(arguments) => client::account::accept(arguments).await,
            Self::Completion { shell } => complete(shell),
        }
    }
}

fn complete(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "eventflow", &mut script);
    let mut out = output::Output::new(output::Format::Table);
    out.write(&script)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
