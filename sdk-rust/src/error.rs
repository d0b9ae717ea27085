//! The one error of the client: what kind, which reason, what to do, and whether anything was applied.
//!
//! ```
//! # fn show(error: eventflow::Error) {
//! match error.reason() {
//!     "STREAM_NOT_FOUND" => println!("create the stream first: {error}"),
//!     _ if error.kind() == eventflow::ErrorKind::Unavailable => println!("try again later: {error}"),
//!     reason => println!("error[{reason}]: {}", error.message()),
//! }
//! # }
//! ```
//!
//! An error is cheap to clone, because one failed batch fails many receipts. Its text is for people and may change; its
//! [`reason`](Error::reason) is for programs and does not.

use std::{collections::BTreeMap, error::Error as StdError, fmt, sync::Arc, time::Duration};

/// What the client returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Reasons that the client itself gives; the broker's are listed with each call of the API.
pub mod reason {
    /// The connection string or an option is wrong.
    pub const INVALID_OPTIONS: &str = "INVALID_OPTIONS";
    /// No host could be resolved to an address.
    pub const HOST_NOT_FOUND: &str = "HOST_NOT_FOUND";
    /// No host accepted a connection.
    pub const CONNECTION_REFUSED: &str = "CONNECTION_REFUSED";
    /// A host did not answer in time.
    pub const CONNECTION_TIMED_OUT: &str = "CONNECTION_TIMED_OUT";
    /// The connection broke during a call.
    pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
    /// The client speaks TLS, the server plaintext: use `?tls=off`.
    pub const SERVER_SPEAKS_PLAINTEXT: &str = "SERVER_SPEAKS_PLAINTEXT";
    /// The client speaks plaintext, the server TLS: use `?tls=on`.
    pub const SERVER_SPEAKS_TLS: &str = "SERVER_SPEAKS_TLS";
    /// What listens there is not a gRPC server.
    pub const NOT_A_BROKER: &str = "NOT_A_BROKER";
    /// The server's certificate is from an authority that the client does not trust: use `ca_certificate_pem`.
    pub const CERTIFICATE_NOT_TRUSTED: &str = "CERTIFICATE_NOT_TRUSTED";
    /// The server's certificate is for another name than the connection string has.
    pub const CERTIFICATE_FOR_ANOTHER_HOST: &str = "CERTIFICATE_FOR_ANOTHER_HOST";
    /// The server's certificate has expired, or is not valid yet.
    pub const CERTIFICATE_EXPIRED: &str = "CERTIFICATE_EXPIRED";
    /// The broker wants a certificate of the client's, or another one: use `client_certificate_pem`.
    pub const CLIENT_CERTIFICATE_REFUSED: &str = "CLIENT_CERTIFICATE_REFUSED";
    /// The TLS handshake failed for another reason.
    pub const TLS_FAILED: &str = "TLS_FAILED";
    /// The call took longer than its timeout, or an event longer than its delivery timeout.
    pub const TIMED_OUT: &str = "TIMED_OUT";
    /// The client, producer or consumer has been closed.
    pub const CLOSED: &str = "CLOSED";
    /// An event is over a limit that the client knows; it was not sent.
    pub const EVENT_TOO_LARGE: &str = "EVENT_TOO_LARGE";
    /// An event names a partition that its stream does not have; it was not sent.
    pub const PARTITION_OUT_OF_RANGE: &str = "PARTITION_OUT_OF_RANGE";
    /// The producer's memory is full.
    pub const PRODUCER_MEMORY_FULL: &str = "PRODUCER_MEMORY_FULL";
    /// The consumer does not hold the partition (any more), so the position cannot be committed.
    pub const PARTITION_NOT_HELD: &str = "PARTITION_NOT_HELD";
    /// The group is shared, and the consumer is for ordered groups.
    pub const DELIVERY_MODE_MISMATCH: &str = "DELIVERY_MODE_MISMATCH";
    /// The broker said something that the client does not understand.
    pub const PROTOCOL_ERROR: &str = "PROTOCOL_ERROR";
}

/// The class of an error. One to one with the gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call was cancelled, or its client closed.
    Cancelled,
    /// Nobody knows; usually a server that is not a broker.
    Unknown,
    /// The request, an option or an event is malformed.
    InvalidArgument,
    /// The time ran out; a write may or may not have been applied.
    DeadlineExceeded,
    /// The object does not exist, or belongs to another organization.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The credential is good, but not for this.
    PermissionDenied,
    /// A quota, a rate limit or a memory bound: wait, then try again.
    ResourceExhausted,
    /// Not in this state: fenced, out of sequence, paused.
    FailedPrecondition,
    /// A concurrent change won; try again.
    Aborted,
    /// Beyond a limit: an offset outside the log, an event too large.
    OutOfRange,
    /// The broker does not know this call; it is older than the client.
    Unimplemented,
    /// A bug in the broker; the message holds a request id.
    Internal,
    /// No broker can be reached, or it is not ready.
    Unavailable,
    /// Stored data is damaged.
    DataLoss,
    /// No credential, or a bad or expired one.
    Unauthenticated,
}

/// Whether a write that failed was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// Nothing was applied.
    No,
    /// It may have been applied.
    Unknown,
    /// The error does not say; for anything that is not a write.
    NotSaid,
}

/// One field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, such as `events[3].key`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// What went wrong. See the [module](self).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    reason: String,
    message: String,
    metadata: BTreeMap<String, String>,
    field_violations: Vec<FieldViolation>,
    retry_after: Option<Duration>,
    applied: Applied,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, reason: &str, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            metadata: BTreeMap::new(),
            field_violations: Vec::new(),
            retry_after: None,
            applied: Applied::NotSaid,
            source: None,
        }))
    }

    pub(crate) fn invalid_options(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, reason::INVALID_OPTIONS, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, reason::PROTOCOL_ERROR, message)
    }

    pub(crate) fn closed(what: &str) -> Self {
        Self::new(ErrorKind::Cancelled, reason::CLOSED, format!("the {what} has been closed"))
    }

    fn change(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        edit(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn with_applied(self, applied: Applied) -> Self {
        self.change(|inner| inner.applied = applied)
    }

    pub(crate) fn with_message(self, message: String) -> Self {
        self.change(|inner| inner.message = message)
    }

    pub(crate) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        self.change(|inner| inner.retry_after = retry_after)
    }

    pub(crate) fn with_metadata(self, metadata: BTreeMap<String, String>) -> Self {
        self.change(|inner| inner.metadata = metadata)
    }

    pub(crate) fn with_field_violations(self, violations: Vec<FieldViolation>) -> Self {
        self.change(|inner| inner.field_violations = violations)
    }

    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code, such as `STREAM_NOT_FOUND`: what programs compare and the CLI prints as `error[REASON]`.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// A sentence for people that names the thing and says what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts, such as limits and expected values. The keys depend on the reason.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// The fields of the request that are wrong, when the broker named them.
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.field_violations
    }

    /// How long to wait at least before trying again. `None`: do not try again unchanged.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the write that failed was applied.
    pub fn applied(&self) -> Applied {
        self.0.applied
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("reason", &self.0.reason)
            .field("message", &self.0.message)
            .field("metadata", &self.0.metadata)
            .field("applied", &self.0.applied)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
