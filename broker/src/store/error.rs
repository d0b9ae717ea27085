//! What Postgres says, in the broker's words.
//!
//! Constraints are named, so that a violated one says which fact it is. A connection that broke during a write leaves its
//! outcome unknown; an error that the server sent for the statement applied nothing.

use crate::domain::{Applied, Error, Reason};
use std::time::Duration;
use tokio_postgres::error::{Severity, SqlState};

const RETRY: Duration = Duration::from_millis(500);

/// Postgres cannot be reached, and nothing was sent to it.
pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Reason::DatabaseUnavailable, "the database cannot be reached; nothing was applied")
        .applied(Applied::No)
        .retry_after(RETRY)
        .source(source)
}

/// The connection broke while a write was under way.
pub fn outcome_unknown(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        Reason::OutcomeUnknown,
        "the connection to the database broke during the write; it may have been applied",
    )
    .applied(Applied::Unknown)
    .retry_after(RETRY)
    .source(source)
}

pub(super) fn from_connect(error: tokio_postgres::Error) -> Error {
    unavailable(error)
}

pub(super) fn from_pool(error: deadpool_postgres::PoolError) -> Error {
    match error {
        deadpool_postgres::PoolError::Backend(error) => unavailable(error),
        deadpool_postgres::PoolError::Timeout(_) => {
            Error::new(Reason::DatabaseUnavailable, "no database connection became free in time; nothing was applied")
                .applied(Applied::No)
                .retry_after(RETRY)
                .source(error)
        }
        other => unavailable(other),
    }
}

/// The error of a commit: when the connection broke there, nobody knows.
pub(super) fn from_commit(error: tokio_postgres::Error) -> Error {
    if lost_connection(&error) { outcome_unknown(error) } else { from_postgres(error) }
}

/// Whether the session is gone, so that the fate of what was under way is unknown. Whatever a server says as it ends a session, or
/// itself, is no answer to the statement: a PANIC for want of disk may come when the commit is in the log already.
pub fn lost_connection(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => {
            // Class 08: connection exceptions; 57P01 to 57P05: shutdowns and idle sessions.
            let code = db.code().code();
            let ended = matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
            ended || code.starts_with("57P") || code.starts_with("08")
        }
        None => {
            error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
        }
    }
}

/// Any other failed statement.
pub fn from_postgres(error: tokio_postgres::Error) -> Error {
    if lost_connection(&error) {
        return unavailable(error);
    }
    let Some(db) = error.as_db_error() else {
        return Error::internal(error);
    };
    match db.code() {
        &SqlState::UNIQUE_VIOLATION => match db.constraint() {
            Some("stream_name_key") => Error::new(Reason::StreamExists, "a stream of that name exists"),
            Some("consumer_group_name_key") => {
                Error::new(Reason::ConsumerGroupExists, "a consumer group of that name exists")
            }
            _ => Error::new(Reason::ConcurrentChange, "somebody else made the same change; try again").source(error),
        },
        &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => {
            Error::new(Reason::ConcurrentChange, "somebody changed the object at the same time; try again")
                .source(error)
        }
        &SqlState::DISK_FULL | &SqlState::OUT_OF_MEMORY | &SqlState::INSUFFICIENT_RESOURCES => {
            Error::new(Reason::DiskFull, "the database has no room; nothing was applied")
                .applied(Applied::No)
                .retry_after(Duration::from_secs(5))
                .source(error)
        }
        &SqlState::READ_ONLY_SQL_TRANSACTION => {
            Error::new(Reason::DatabaseUnavailable, "the database is read-only (a standby?); nothing was applied")
                .applied(Applied::No)
                .retry_after(RETRY)
                .source(error)
        }
        &SqlState::TOO_MANY_CONNECTIONS
        | &SqlState::QUERY_CANCELED
        | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => unavailable(error),
        &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => {
            Error::new(Reason::DataLoss, "stored data is damaged").source(error)
        }
        _ => Error::internal(error),
    }
}
