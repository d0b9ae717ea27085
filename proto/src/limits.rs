//! Every limit of the API in one place. Proto comments, validation, `GetLimits` and the docs quote these numbers.

/// Default of a stream's largest event: id, type, key, headers, content type and payload together, in bytes.
pub const EVENT_BYTES_DEFAULT: usize = 1024 * 1024;
/// Largest event that a stream may allow, in bytes.
pub const EVENT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Number of headers of one event.
pub const HEADERS_MAX: usize = 64;
/// Name of one header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 256;
/// Names and values of all headers of one event together, in bytes.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// Event id, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Event type, in bytes.
pub const TYPE_BYTES_MAX: usize = 256;
/// Content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Events of one request.
pub const REQUEST_EVENTS_MAX: usize = 10_000;
/// One message in either direction after decompression, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events of one row of the log.
pub const ROW_EVENTS_MAX: usize = 4_096;
/// Bytes of one row of the log, unless a single event is larger.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;
/// Partitions of one stream.
pub const PARTITIONS_MAX: u32 = 1_024;
/// Partitions of a stream that does not say.
pub const PARTITIONS_DEFAULT: u32 = 8;
/// Requests in flight of one producer and partition; also how many of its runs are remembered.
pub const PRODUCER_IN_FLIGHT_MAX: usize = 64;
/// Days for which a producer's runs are remembered.
pub const PRODUCER_MEMORY_DAYS: u32 = 7;
/// Retention of a stream that does not say, in seconds: 7 days.
pub const RETENTION_SECONDS_DEFAULT: i64 = 7 * 24 * 3600;
/// Longest retention by age, in seconds: 36,500 days. Longer is no limit.
pub const RETENTION_SECONDS_MAX: i64 = 36_500 * 24 * 3600;
/// Names of streams, groups and members, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Descriptions, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Labels of one object.
pub const LABELS_MAX: usize = 32;
/// Name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Value of a label, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Client string of a subscriber, in bytes.
pub const CLIENT_BYTES_MAX: usize = 128;
/// Window of a subscription that does not say, in events.
pub const WINDOW_EVENTS_DEFAULT: u32 = 10_000;
/// Largest window, in events.
pub const WINDOW_EVENTS_MAX: u32 = 1_000_000;
/// Window of a subscription that does not say, in bytes.
pub const WINDOW_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// Largest window, in bytes.
pub const WINDOW_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Members of one group.
pub const MEMBERS_MAX: usize = 1_000;
/// API keys of one organization that have not ended.
pub const API_KEYS_MAX: i64 = 1_000;
/// Objects a page of a list that does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// Objects a page at most.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Bytes of events after which a page of `ListEvents` ends.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Drain of a group that does not say, in milliseconds.
pub const DRAIN_MS_DEFAULT: i64 = 10_000;
/// Longest drain, in milliseconds.
pub const DRAIN_MS_MAX: i64 = 300_000;
/// Time that a member has for an event, of a group that does not say, in milliseconds.
pub const ACK_TIMEOUT_MS_DEFAULT: i64 = 30_000;
/// Shortest time that a group may give its members for an event, in milliseconds.
pub const ACK_TIMEOUT_MS_MIN: i64 = 1_000;
/// Longest, in milliseconds; also how far one extension reaches.
pub const ACK_TIMEOUT_MS_MAX: i64 = 3_600_000;
/// First back-off of a group that does not say, in milliseconds.
pub const RETRY_INITIAL_MS_DEFAULT: i64 = 1_000;
/// Shortest first back-off, in milliseconds.
pub const RETRY_INITIAL_MS_MIN: i64 = 10;
/// Longest first back-off, in milliseconds.
pub const RETRY_INITIAL_MS_MAX: i64 = 3_600_000;
/// How much longer each back-off is than the one before, of a group that does not say.
pub const RETRY_MULTIPLIER_DEFAULT: f64 = 2.0;
/// The largest such factor.
pub const RETRY_MULTIPLIER_MAX: f64 = 10.0;
/// Longest back-off of a group that does not say, in milliseconds.
pub const RETRY_MAX_MS_DEFAULT: i64 = 300_000;
/// Longest back-off, also that of a nack, in milliseconds: a day.
pub const RETRY_MAX_MS_MAX: i64 = 86_400_000;
/// Failed attempts after which an event is a dead letter, of a group that does not say.
pub const ATTEMPTS_DEFAULT: u32 = 10;
/// The most attempts: in effect for ever.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// Outcomes of one frame of a Commit stream.
pub const OUTCOMES_MAX: usize = 10_000;
/// Reason of a nack, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Error class of a nack, in bytes.
pub const ERROR_CLASS_BYTES_MAX: usize = 128;
/// Attempts whose history is kept with an event: the newest.
pub const HISTORY_MAX: usize = 20;
/// Dead letters that one call redrives or discards.
pub const DEAD_LETTERS_MAX: usize = 10_000;
/// Dead letters that one call names.
pub const DEAD_LETTER_IDS_MAX: usize = 1_000;
/// The fastest redrive but all at once.
pub const REDRIVE_PER_SECOND_MAX: u32 = 100_000;
/// Events of one claim of a shared group.
pub const CLAIM_EVENTS_MAX: u64 = 1_000;
/// Events of a group that are parked behind an earlier one of their key.
pub const PARKED_MAX: usize = 100_000;
/// Groups whose lag a broker shows in its metrics.
pub const LAG_GROUPS_MAX: usize = 500;
/// Partitions whose lag a broker counts in one round, every five seconds; more take turns.
pub const LAG_PARTITIONS_MAX: usize = 2_000;
/// Bits of an offset below the log epoch.
pub const LOG_EPOCH_BITS: u32 = 40;
/// Definition of one schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Nesting of a schema's definition.
pub const SCHEMA_DEPTH_MAX: usize = 32;
/// Regular expressions of one schema.
pub const SCHEMA_PATTERNS_MAX: usize = 64;
/// One regular expression of a schema, in bytes.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1_024;
/// Subschemas of one schema with every reference written out: what bounds the work for a payload.
pub const SCHEMA_PARTS_MAX: usize = 10_000;
/// Event types of a stream that have a schema of their own.
pub const SCHEMA_TYPES_MAX: usize = 200;
/// Versions of one schema.
pub const SCHEMA_VERSIONS_MAX: usize = 1_000;
/// Violations that one answer names.
pub const VIOLATIONS_MAX: usize = 100;
/// Stored events that one `CheckAgainstHistory` reads.
pub const HISTORY_EVENTS_MAX: u32 = 10_000;
/// Stored events that `CheckAgainstHistory` reads when it is not told.
pub const HISTORY_EVENTS_DEFAULT: u32 = 1_000;
/// Bytes of stored events that one `CheckAgainstHistory` reads.
pub const HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Idempotency key of an event, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Keys of which one publish expects where their last events stand.
pub const EXPECTED_KEYS_MAX: usize = 100;
/// How long a stream that does not say keeps idempotency keys, in seconds: one day.
pub const KEY_RETENTION_SECONDS_DEFAULT: i64 = 24 * 3600;
/// The shortest time for which keys are kept, in seconds.
pub const KEY_RETENTION_SECONDS_MIN: i64 = 60;
/// How far ahead an event may be delivered, in seconds: 30 days.
pub const DELAY_SECONDS_MAX: i64 = 30 * 24 * 3600;
/// A filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 4_096;
/// Nesting of a filter.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Comparisons and values of a filter.
pub const FILTER_TERMS_MAX: usize = 256;
/// Events of one answer of `Poll` that does not say.
pub const POLL_EVENTS_DEFAULT: u32 = 100;
/// Events of one answer of `Poll` at most.
pub const POLL_EVENTS_MAX: u32 = 1_000;
/// Bytes of events of one answer of `Poll` that does not say.
pub const POLL_BYTES_DEFAULT: u64 = 1024 * 1024;
/// Bytes of events of one answer of `Poll` at most, unless a single event is larger.
pub const POLL_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// How long a `Poll` waits that does not say, in milliseconds.
pub const POLL_WAIT_MS_DEFAULT: i64 = 10_000;
/// How long a `Poll` waits at most, in milliseconds.
pub const POLL_WAIT_MS_MAX: i64 = 20_000;
/// Processing rules of one stream.
pub const RULES_MAX: usize = 64;
/// Headers that one rule sets and removes together, and fields that one rule redacts.
pub const RULE_ITEMS_MAX: usize = 32;
/// A field that a rule redacts, in bytes.
pub const RULE_FIELD_BYTES_MAX: usize = 512;
/// Rules in a chain of streams that an event may come through.
pub const RULE_HOPS_MAX: u32 = 8;
/// Stored events that one `TestRule` reads.
pub const RULE_TEST_EVENTS_MAX: u32 = 10_000;
/// Stored events that `TestRule` reads when it is not told.
pub const RULE_TEST_EVENTS_DEFAULT: u32 = 1_000;
/// Events that one answer of `TestRule` shows.
pub const RULE_TEST_SHOWN_MAX: usize = 100;
/// Alerts of one consumer group.
pub const GROUP_ALERTS_MAX: i64 = 20;
/// Alerts of one organization.
pub const ALERTS_MAX: i64 = 1_000;
/// How long a value may have to be above its threshold before an alert fires, in milliseconds: a day.
pub const ALERT_HOLD_MS_MAX: i64 = 24 * 3_600_000;
/// URL of a webhook, in bytes.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Attempts to deliver a notification, after which it is given up.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 16;
/// Notifications of one alert that wait; the oldest goes when there is one more.
pub const WEBHOOK_WAITING_MAX: i32 = 20;
/// Groups whose alerts that fire a broker shows in its metrics.
pub const FIRING_GROUPS_MAX: i32 = 500;
