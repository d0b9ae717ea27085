//! The broker's integration tests: one binary, so that it links once.

mod access;
mod catalogue;
mod faults;
mod groups;
mod lag;
mod publish;
mod publisher;
mod reasons;
mod routing;
mod schema;
mod slow;
mod support;
mod transport;
mod under_load;
