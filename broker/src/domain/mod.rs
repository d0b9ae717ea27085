//! Pure values and decisions: no async, no I/O, no clock. Every other room speaks in these words.

pub mod access;
pub mod alert;
pub mod api_key;
pub mod assign;
pub mod audit;
pub mod bounds;
pub mod dead_letter;
pub mod error;
pub mod event;
pub mod event_view;
pub mod explanation;
pub mod filter;
pub mod fingerprint;
pub mod group;
pub mod group_settings;
pub mod ids;
pub mod labels;
pub mod organization;
pub mod page;
pub mod password;
pub mod pattern;
pub mod position;
pub mod public_keys;
pub mod publisher;
pub mod quota;
pub mod ranges;
pub mod reports;
pub mod retry;
pub mod rule;
pub mod schema;
pub mod stream;
pub mod stream_settings;
pub mod user;
pub mod web_headers;

pub use error::{Applied, Error, Reason, Result};
/// All limits, shared with the wire crate so that they stand in one file.
pub use eventflow_proto::limits;
