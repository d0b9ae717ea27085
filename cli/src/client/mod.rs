//! Verbs that ask a broker: streams, groups, lag, limits, contexts.

pub mod context;
pub mod group;
mod group_views;
pub mod key;
pub mod lag;
pub mod limits;
mod nearest;
pub mod scopes;
pub mod stream;
mod stream_views;
mod sure;

pub use nearest::{group_named, stream_named};
