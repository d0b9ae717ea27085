//! The broker's integration tests: one binary, so that it links once.

mod catalogue;
mod faults;
mod groups;
mod publish;
mod routing;
mod schema;
mod support;
mod transport;
mod under_load;
