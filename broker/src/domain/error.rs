//! The one error type of the broker. It knows nothing of gRPC: `grpc/status.rs` is the only file that maps it.
//!
//! A [`Reason`] is the error code that users see; it decides the gRPC code. Facts have constructors near the nouns they speak
//! of (`stream_not_found(&name)`); this file holds the value and the words that belong to no noun.

use std::{borrow::Cow, fmt, time::Duration};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The canonical codes, as gRPC defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// Declares every reason once: its name on the wire, its code, and what it means, for `docs/errors.md`.
macro_rules! reasons {
    ($($variant:ident = $name:literal, $code:ident, $meaning:literal;)*) => {
        /// Why a call failed: the only error code that users ever see.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $meaning] $variant,)* }

        impl Reason {
            /// Every reason, for the docs and for the test that each is produced somewhere.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The reason as it travels, such as `STREAM_NOT_FOUND`.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The canonical code that goes with it.
            pub fn code(self) -> Code {
                match self { $(Reason::$variant => Code::$code,)* }
            }

            /// One sentence for the reference.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, "A field is malformed; the violations name it.";
    MalformedMessage = "MALFORMED_MESSAGE", InvalidArgument, "The message is not valid protobuf of this type.";
    MessageTooLarge = "MESSAGE_TOO_LARGE", OutOfRange, "A message is larger than the transport's limit.";
    EventTooLarge = "EVENT_TOO_LARGE", OutOfRange, "An event is larger than its stream allows.";
    TooManyEvents = "TOO_MANY_EVENTS", InvalidArgument, "A request holds more events than allowed.";
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument, "A page token was changed, or belongs to another call.";
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, "No credential, or a bad, expired or revoked one.";
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied, "The credential's role or scope does not allow this.";
    OriginNotAdmitted = "ORIGIN_NOT_ADMITTED", PermissionDenied, "Pages of this origin may not call.";
    ApiKeyNotFound = "API_KEY_NOT_FOUND", NotFound, "No such API key in this organization.";
    ApiKeyEnded = "API_KEY_ENDED", FailedPrecondition, "The API key was revoked or has expired.";
    TooManyApiKeys = "TOO_MANY_API_KEYS", ResourceExhausted, "The organization has as many API keys as allowed.";
    LoginFailed = "LOGIN_FAILED", Unauthenticated, "Organization, address or password is wrong, or the account cannot be used.";
    SessionEnded = "SESSION_ENDED", Unauthenticated, "The session has ended: by a logout, by its age, or because a refresh token came twice.";
    InvitationInvalid = "INVITATION_INVALID", InvalidArgument, "The invitation or reset is unknown, used up or too old.";
    MailNotConfigured = "MAIL_NOT_CONFIGURED", FailedPrecondition, "This broker sends no mail.";
    TooManyAttempts = "TOO_MANY_ATTEMPTS", ResourceExhausted, "Too many attempts lately, at this account or from this address.";
    UserNotFound = "USER_NOT_FOUND", NotFound, "No such user in this organization.";
    UserExists = "USER_EXISTS", AlreadyExists, "The organization has a user with that address.";
    RegistrationClosed = "REGISTRATION_CLOSED", PermissionDenied, "Only operators make organizations here.";
    OrganizationExists = "ORGANIZATION_EXISTS", AlreadyExists, "An organization of that name exists.";
    LastAdmin = "LAST_ADMIN", FailedPrecondition, "Nobody would be left who can let others in.";
    StreamNotFound = "STREAM_NOT_FOUND", NotFound, "No such stream in this organization.";
    StreamExists = "STREAM_EXISTS", AlreadyExists, "A stream of that name exists.";
    StreamHasGroups = "STREAM_HAS_GROUPS", FailedPrecondition, "The stream has consumer groups; delete them or use force.";
    KeyRemapNotAllowed = "KEY_REMAP_NOT_ALLOWED", FailedPrecondition, "More partitions change where keys go: confirm with `allow_key_remap`; a stream that tracks its keys gets none.";
    ConsumerGroupNotFound = "CONSUMER_GROUP_NOT_FOUND", NotFound, "No such consumer group in this organization.";
    ConsumerGroupExists = "CONSUMER_GROUP_EXISTS", AlreadyExists, "A consumer group of that name exists.";
    ConsumerGroupHasMembers = "CONSUMER_GROUP_HAS_MEMBERS", FailedPrecondition, "The group has members; stop them or use force.";
    ConsumerGroupManaged = "CONSUMER_GROUP_MANAGED", FailedPrecondition, "The group runs the rules of its stream, and belongs to the broker.";
    RuleNotFound = "RULE_NOT_FOUND", NotFound, "The stream has no such rule.";
    RuleExists = "RULE_EXISTS", AlreadyExists, "The stream has a rule of that name.";
    TooManyRules = "TOO_MANY_RULES", FailedPrecondition, "The stream has as many rules as allowed.";
    AlertNotFound = "ALERT_NOT_FOUND", NotFound, "The consumer group has no such alert.";
    AlertExists = "ALERT_EXISTS", AlreadyExists, "The consumer group has an alert of that name.";
    TooManyAlerts = "TOO_MANY_ALERTS", FailedPrecondition, "The consumer group or the organization has as many alerts as allowed.";
    AlertHasNoWebhook = "ALERT_HAS_NO_WEBHOOK", FailedPrecondition, "The alert has no webhook that could be tested.";
    SchemaNotFound = "SCHEMA_NOT_FOUND", NotFound, "The stream has no such schema.";
    SchemaIncompatible = "SCHEMA_INCOMPATIBLE", FailedPrecondition, "The stream's compatibility mode does not allow this step, or it cannot be decided.";
    SchemaViolation = "SCHEMA_VIOLATION", InvalidArgument, "An event does not fit its schema; the violations name the places.";
    TooManySchemas = "TOO_MANY_SCHEMAS", FailedPrecondition, "The stream has as many schemas or versions as allowed.";
    RequestIdReused = "REQUEST_ID_REUSED", AlreadyExists, "The request id was used for a different request.";
    PartitionOutOfRange = "PARTITION_OUT_OF_RANGE", OutOfRange, "The stream has fewer partitions.";
    OffsetBelowFloor = "OFFSET_BELOW_FLOOR", OutOfRange, "Events at that offset were removed.";
    OffsetAboveHead = "OFFSET_ABOVE_HEAD", OutOfRange, "No event has that offset yet.";
    StaleRouting = "STALE_ROUTING", FailedPrecondition, "The partition was chosen by an old routing version; nothing was applied.";
    OutOfSequence = "OUT_OF_SEQUENCE", FailedPrecondition, "A producer's sequence has a gap; nothing was applied.";
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", AlreadyExists, "The idempotency key was used for an event that says something else; nothing was applied.";
    ExpectationFailed = "EXPECTATION_FAILED", FailedPrecondition, "The partition does not end where the request expects, or a key's last event stands elsewhere; nothing was applied.";
    KeysNotTracked = "KEYS_NOT_TRACKED", FailedPrecondition, "The stream does not keep the last offset of its keys; nothing was applied.";
    ProducerUnknown = "PRODUCER_UNKNOWN", FailedPrecondition, "The broker does not know the producer, and its sequence does not start at 0.";
    ProducerFenced = "PRODUCER_FENCED", FailedPrecondition, "A higher epoch of the producer has appended.";
    SequenceTooOld = "SEQUENCE_TOO_OLD", FailedPrecondition, "The repeat is older than what the broker remembers of the producer.";
    PrecedingFailed = "PRECEDING_FAILED", FailedPrecondition, "An earlier request of this publish stream was refused; nothing was applied.";
    PublishBacklogFull = "PUBLISH_BACKLOG_FULL", ResourceExhausted, "Too many bytes wait to be appended; nothing was applied.";
    MemberFenced = "MEMBER_FENCED", FailedPrecondition, "The session no longer holds the partition.";
    SeekFenced = "SEEK_FENCED", FailedPrecondition, "The group was moved by a seek; the session still holds the partition.";
    CommitOutOfRange = "COMMIT_OUT_OF_RANGE", OutOfRange, "A commit lies beyond what was delivered.";
    AckDeadlinePassed = "ACK_DEADLINE_PASSED", FailedPrecondition, "The outcome came after the event's deadline; the event is tried again.";
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND", NotFound, "No such dead letter of this group.";
    RedriveNotFound = "REDRIVE_NOT_FOUND", NotFound, "No such redrive of this group.";
    EventNotInFlight = "EVENT_NOT_IN_FLIGHT", FailedPrecondition, "The session does not have the event, or has settled it before.";
    OutcomeOutOfOrder = "OUTCOME_OUT_OF_ORDER", FailedPrecondition, "In an ordered group only the next event can be settled.";
    DeliveryModeMismatch = "DELIVERY_MODE_MISMATCH", FailedPrecondition, "The request is for the other delivery mode of the group.";
    SessionNotFound = "SESSION_NOT_FOUND", FailedPrecondition, "No such session; subscribe again.";
    SessionElsewhere = "SESSION_ELSEWHERE", FailedPrecondition, "The session lives on another broker.";
    SessionExpired = "SESSION_EXPIRED", Unavailable, "The broker lost its lease; subscribe again.";
    TooManyMembers = "TOO_MANY_MEMBERS", ResourceExhausted, "The group has as many members as allowed.";
    SlowConsumer = "SLOW_CONSUMER", ResourceExhausted, "The subscriber did not read for too long.";
    LogTruncated = "LOG_TRUNCATED", FailedPrecondition, "The log was cut by a failover or restore; the metadata say where to resume.";
    DataLoss = "DATA_LOSS", DataLoss, "Stored events are damaged or missing.";
    DatabaseUnavailable = "DATABASE_UNAVAILABLE", Unavailable, "Postgres cannot be reached.";
    DiskFull = "DISK_FULL", ResourceExhausted, "Postgres has no room; nothing was applied.";
    PortTaken = "PORT_TAKEN", AlreadyExists, "Another process listens at the broker's address.";
    UnsafeDurability = "UNSAFE_DURABILITY", Unavailable, "Postgres is set up so that acknowledged events could be lost.";
    BrokerDraining = "BROKER_DRAINING", Unavailable, "The broker is shutting down; another one will serve.";
    RateLimited = "RATE_LIMITED", ResourceExhausted, "A rate of the organization or credential is used up; nothing was applied.";
    QuotaExceeded = "QUOTA_EXCEEDED", ResourceExhausted, "A quota of the organization or credential is used up; nothing was applied.";
    Overloaded = "OVERLOADED", ResourceExhausted, "The broker sheds load; nothing was applied.";
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unavailable, "The connection to Postgres broke during the write; it may or may not have been applied.";
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, "The call's deadline passed; a write may or may not have been applied.";
    ConcurrentChange = "CONCURRENT_CHANGE", Aborted, "Somebody changed the object at the same time.";
    Unimplemented = "UNIMPLEMENTED", Unimplemented, "This broker does not know the method or the encoding.";
    Internal = "INTERNAL", Internal, "A bug; the broker's log has the details under the request id.";
}

/// Whether a failed write changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    No,
    Unknown,
}

/// A field that is wrong, by its path in the request, such as `events[3].key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub description: String,
}

/// What went wrong, for the caller (reason, message, facts) and for the log (source).
#[derive(Clone)]
pub struct Error(Box<Facts>);

#[derive(Clone)]
struct Facts {
    reason: Reason,
    message: Cow<'static, str>,
    violations: Vec<Violation>,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    applied: Option<Applied>,
    source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a sentence that names the thing in backticks and says what to do.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Facts {
            reason,
            message: message.into(),
            violations: Vec::new(),
            metadata: Vec::new(),
            retry_after: None,
            applied: None,
            source: None,
        }))
    }

    /// One malformed field. Nothing was applied.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::new(Reason::InvalidArgument, format!("`{field}` {description}")).violation(field, description)
    }

    /// A bug or an unexpected failure below: the caller gets a request id, the log gets the source.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "internal error; the broker's log has the details under this request id")
            .source(source)
    }

    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.violations.push(Violation { field: field.into(), description: description.into() });
        self
    }

    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.metadata.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    #[must_use]
    pub fn applied(mut self, applied: Applied) -> Self {
        self.0.applied = Some(applied);
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    pub fn code(&self) -> Code {
        self.0.reason.code()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub fn was_applied(&self) -> Option<Applied> {
        self.0.applied
    }

    /// The chain below, for the log only.
    pub fn chain(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&(dyn std::error::Error + 'static)> = self.0.source.as_deref().map(|source| source as _);
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.as_str(), self.0.message)?;
        let chain = self.chain();
        if chain.is_empty() { Ok(()) } else { write!(f, " ({chain})") }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
