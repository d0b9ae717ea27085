//! Asking before something is destroyed.

use std::io::{self, IsTerminal};

use crate::{
    failure::{Failure, Result},
    output::note_raw,
};

/// Goes on when `yes` was given, or when a person types the name. `deed` completes "This will …".
pub async fn be_sure(yes: bool, deed: &str, name: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let sentence = format!("this would {deed}: confirm it with --yes");
        return Err(Failure::usage(sentence));
    }
    note_raw(&format!("This will {deed}.\nType the name to confirm: "));
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.map_err(|_| Failure::interrupted())??;
    if answer.trim() == name {
        return Ok(());
    }
    Err(Failure::usage("that is another name: nothing was done"))
}
