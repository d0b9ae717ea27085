//! What the broker says about itself: logs with request ids, spans, metrics.
//!
//! Labels are bounded: method, code, reason; stream and group only where their number is. Never in a log or a label: keys of
//! events, payloads, credentials, connection strings.
//!
//! Spans: `call` around every RPC, and at level debug `publish` (a request), `append` (a call of the database), `session` (a
//! subscription; its deliveries are events at level trace) and `commit` (a write of progress).

pub mod alerts;
pub mod lag;
pub mod logs;
pub mod metrics;
