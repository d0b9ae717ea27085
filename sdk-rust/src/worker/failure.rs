//! Why an event failed, and what shall become of it.

use std::time::Duration;

/// A failed attempt. Any error becomes one, to be tried again: `?` works in a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(super) reason: String,
    pub(super) class: String,
    pub(super) delay: Option<Duration>,
    pub(super) is_final: bool,
    pub(super) trace_id: String,
}

impl Failure {
    /// To be tried again, as the group's retry policy says.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), class: String::new(), delay: None, is_final: false, trace_id: String::new() }
    }

    /// Trying again is of no use: a dead letter at once.
    pub fn give_up(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::retry(reason) }
    }

    /// Names the kind of failure, such as `timeout`: people look at dead letters by it. At most 128 bytes.
    #[must_use]
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = class.into();
        self
    }

    /// Names the trace in which it failed, by 32 hexadecimal digits in lower case: the history of a dead letter shows it. Otherwise that
    /// shows the trace in which the event was published.
    #[must_use]
    pub fn trace_id(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = trace_id.into();
        self
    }

    /// Waits this long instead of the back-off, at most a day.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let class = std::any::type_name::<E>().rsplit("::").next().unwrap_or_default().to_owned();
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        // NUL is nothing that a person reads, and Postgres does not take it.
        Self::retry(reason.replace('\0', " ")).class(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_is_a_failure_to_be_tried_again() {
        let failure = Failure::from(std::io::Error::other("the disk is\0gone"));
        assert_eq!((failure.reason.as_str(), failure.class.as_str()), ("the disk is gone", "Error"));
        assert!(!failure.is_final && Failure::give_up("x").is_final);
    }
}
