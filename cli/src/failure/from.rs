//! How the errors of the client, the broker's libraries and the private Postgres become failures.

use super::{Exit, Failure, hints};
use eventflow::ErrorKind;
use eventflow_broker::domain::error::Code;

/// Facts that say nothing to a person, because they stand elsewhere.
const SAID_ELSEWHERE: &[&str] = &["request_id", "applied"];

impl From<eventflow::Error> for Failure {
    fn from(error: eventflow::Error) -> Self {
        let mut failure = Self::new(exit_of(error.kind()), error.reason(), error.message());
        for violation in error.field_violations() {
            let line = format!("{}: {}", violation.field, violation.description);
            // With a single violation the sentence often is the violation.
            if !error.message().contains(&violation.description) {
                failure = failure.detail(line);
            }
        }
        let facts: Vec<String> = error
            .metadata()
            .iter()
            .filter(|(name, _)| !SAID_ELSEWHERE.contains(&name.as_str()))
            .filter(|(_, value)| !error.message().contains(value.as_str()))
            .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
            .collect();
        if !facts.is_empty() {
            failure = failure.cause(facts.join(", "));
        }
        if let Some(hint) = hints::of_client(error.reason()) {
            failure = failure.hint(hint);
        }
        failure.0.request_id = error.metadata().get("request_id").cloned();
        failure
    }
}

fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Exit::Auth,
        ErrorKind::AlreadyExists | ErrorKind::FailedPrecondition | ErrorKind::Aborted => Exit::Conflict,
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::ResourceExhausted => Exit::Unavailable,
        _ => Exit::Error,
    }
}

impl From<eventflow_broker::domain::Error> for Failure {
    fn from(error: eventflow_broker::domain::Error) -> Self {
        let exit = match error.code() {
            Code::NotFound => Exit::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => Exit::Auth,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
            Code::InvalidArgument => Exit::Usage,
            _ => Exit::Error,
        };
        let reason = error.reason().as_str();
        // The message is written for callers over the network; here the log is this terminal.
        let sentence = error
            .message()
            .replace("; the broker's log has the details under this request id", "")
            .replace("; nothing was applied", "");
        let failure = Self::new(exit, reason, sentence).cause(innermost(&error));
        match hints::of_broker(reason, error.message(), &error.chain()) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The bottom of the chain: what is above it only says through which layers it came.
fn innermost(error: &dyn std::error::Error) -> String {
    let below = std::iter::successors(error.source(), |error| error.source());
    below.last().map_or(String::new(), ToString::to_string)
}

impl From<eventflow_broker::config::ConfigError> for Failure {
    fn from(error: eventflow_broker::config::ConfigError) -> Self {
        let mistakes = error.mistakes();
        let sentence = match mistakes.len() {
            1 => "the configuration has a mistake".to_owned(),
            count => format!("the configuration has {count} mistakes"),
        };
        let failure = Self::new(Exit::Configuration, "CONFIGURATION", sentence);
        mistakes
            .iter()
            .fold(failure, |failure, mistake| failure.detail(mistake.to_string()))
            .hint("`eventflow serve --print-config` shows every setting with its unit and default")
    }
}

impl From<eventflow_embedded::Error> for Failure {
    fn from(error: eventflow_embedded::Error) -> Self {
        use eventflow_embedded::Error as Embedded;
        let (exit, reason) = match &error {
            Embedded::NoBinaries => (Exit::Unavailable, "POSTGRES_NOT_FOUND"),
            Embedded::BadOverride { .. } => (Exit::Usage, "POSTGRES_NOT_FOUND"),
            Embedded::WrongVersion { .. } => (Exit::Conflict, "POSTGRES_VERSION"),
            Embedded::BinariesReplaced { .. } => (Exit::Conflict, "POSTGRES_REPLACED"),
            Embedded::AlreadyRunning { .. } => (Exit::Conflict, "ALREADY_RUNNING"),
            Embedded::PortTaken { .. } => (Exit::Conflict, "PORT_TAKEN"),
            Embedded::NoServiceUser => (Exit::Unavailable, "POSTGRES_USER_MISSING"),
            _ => (Exit::Error, "POSTGRES_FAILED"),
        };
        Self::new(exit, reason, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::nobody_reads(),
            _ => Self::new(Exit::Error, "INPUT_OUTPUT", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventflow_broker::domain::{Error, Reason};

    #[test]
    fn a_database_that_is_down_is_told_in_words_with_the_reason_below() {
        let error = Error::new(Reason::DatabaseUnavailable, "the database cannot be reached; nothing was applied")
            .source("connection refused");
        let failure = Failure::from(error);
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert_eq!(
            failure.text(),
            "error[DATABASE_UNAVAILABLE]: the database cannot be reached\n  cause: connection refused\n  \
             hint: check that Postgres runs there and that EVENTFLOW_DATABASE_URL (or --database-url) names it\n"
        );
    }

    #[test]
    fn a_missing_postgres_takes_three_lines_and_no_more() {
        let text = Failure::from(eventflow_embedded::Error::NoBinaries).text();
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
