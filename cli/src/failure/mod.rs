//! What went wrong, as a person reads it: `error[REASON]: sentence`, cause, hint, request id, and an exit code.
//!
//! Whatever fails below becomes a [`Failure`] on its way up and is shown once, by `main`. Nothing here prints.

mod from;
mod hints;

use std::fmt::{self, Write as _};

/// Exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Whoever read the output has gone away, as `head` does: nothing is wrong.
    Done = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    Auth = 4,
    Conflict = 5,
    Unavailable = 6,
    Configuration = 64,
    Interrupted = 130,
}

/// The one error of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Facts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    exit: Exit,
    reason: String,
    sentence: String,
    details: Vec<String>,
    cause: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(exit: Exit, reason: &str, sentence: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            exit,
            reason: reason.to_owned(),
            sentence: sentence.into(),
            details: Vec::new(),
            cause: None,
            hint: None,
            request_id: None,
        }))
    }

    /// A command that was given wrongly.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "USAGE", sentence)
    }

    /// A file that cannot be read, written or made.
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let sentence = format!("could not {doing} `{}`", path.display());
        Self::new(Exit::Error, "FILE", sentence).cause(error)
    }

    /// Ctrl-C, or a termination signal.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "INTERRUPTED", "")
    }

    /// Nobody reads the output any more.
    pub fn nobody_reads() -> Self {
        Self::new(Exit::Done, "DONE", "")
    }

    /// Everything has been said already; only the exit code is left.
    pub fn said(exit: Exit) -> Self {
        Self::new(exit, "SAID", "")
    }

    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        self.0.cause = (!cause.is_empty()).then_some(cause);
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// A line of its own below the sentence.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.0.details.push(line.into());
        self
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What stands on standard error; empty when there is nothing to say.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.0.sentence.is_empty() {
            return text;
        }
        let _ = writeln!(text, "error[{}]: {}", self.0.reason, self.0.sentence);
        for detail in &self.0.details {
            let _ = writeln!(text, "  {detail}");
        }
        let rest = [("cause", &self.0.cause), ("hint", &self.0.hint), ("request id", &self.0.request_id)];
        for (label, value) in rest {
            if let Some(value) = value {
                let _ = writeln!(text, "  {label}: {}", value.replace('\n', "\n    "));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_from_what_to_why_to_what_next() {
        let failure = Failure::new(Exit::NotFound, "STREAM_NOT_FOUND", "no stream `ordrs`")
            .detail("a detail")
            .cause("it was never created")
            .hint("did you mean `orders`?");
        assert_eq!(
            failure.text(),
            "error[STREAM_NOT_FOUND]: no stream `ordrs`\n  a detail\n  cause: it was never created\n  \
             hint: did you mean `orders`?\n"
        );
    }

    #[test]
    fn an_interrupt_says_nothing() {
        assert_eq!(Failure::interrupted().text(), "");
    }
}
