//! The broker's integration tests: one binary, so that it links once.

mod catalogue;
mod groups;
mod publish;
mod support;
mod transport;
