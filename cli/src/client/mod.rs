//! Verbs that ask a broker: streams, schemas, rules, groups, alerts, lag, limits, contexts.

pub mod account;
pub mod alert;
mod alert_views;
pub mod audit;
pub mod context;
pub mod dlq;
mod dlq_edit;
mod dlq_redrives;
pub mod group;
mod group_views;
pub mod key;
pub mod lag;
pub mod limits;
mod nearest;
pub mod org;
pub mod poll;
pub mod rule;
mod rule_views;
pub mod schema;
mod schema_views;
pub mod scopes;
mod secret;
pub mod stream;
mod stream_views;
mod sure;
pub mod user;

pub use nearest::{group_named, stream_named};
