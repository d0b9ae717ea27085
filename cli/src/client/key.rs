//! `eventflow key`: says where keys are made, until they can be managed over the API.

use crate::failure::{Exit, Failure, Result};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Whatever is asked for
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

pub fn run(_: Arguments) -> Result<()> {
    let sentence = "keys cannot be managed over the API yet";
    let hint = "an operator makes one with `eventflow admin key create --database-url URL --organization NAME`";
    Err(Failure::new(Exit::Error, "UNIMPLEMENTED", sentence).hint(hint))
}
