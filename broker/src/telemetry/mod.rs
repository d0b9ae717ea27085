//! What the broker says about itself: logs with request ids, spans, metrics.
//!
//! Labels are bounded: method, code, reason; stream and group only where their number is. Never in a log or a label: keys of
//! events, payloads, credentials, connection strings.

pub mod logs;
pub mod metrics;
