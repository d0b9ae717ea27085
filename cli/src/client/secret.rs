//! Secrets that a person types, or that are piped in: never an argument, where others could read them.

use std::io::{self, BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::{
    failure::{Failure, Result},
    output::note_raw,
};

/// A line of standard input. A person is asked for `what`, and does not see what they type.
pub async fn ask(what: &'static str) -> Result<String> {
    let answer = tokio::task::spawn_blocking(move || read(what));
    let line = answer.await.map_err(|_| Failure::interrupted())??;
    let secret = line.trim_end_matches(['\n', '\r']).to_owned();
    if secret.is_empty() {
        return Err(Failure::usage(format!("no {what} was given: type it, or pipe it in, a line each")));
    }
    Ok(secret)
}

/// A new password; a person types it twice.
pub async fn ask_for_new_password() -> Result<String> {
    let password = ask("new password").await?;
    if io::stdin().is_terminal() && ask("new password, again").await? != password {
        return Err(Failure::usage("the two passwords differ: nothing was done"));
    }
    Ok(password)
}

fn read(what: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.lock().read_line(&mut line)?;
        return Ok(line);
    }
    note_raw(&format!("{what}: "));
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let outcome = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Now, &shown)?;
    note_raw("\n");
    outcome.map(|_| line)
}
