//! The broker's integration tests: one binary, so that it links once.

mod access;
mod alerts;
mod browsers;
mod catalogue;
mod explain;
mod faults;
mod filters;
mod groups;
mod keys;
mod lag;
mod outcomes;
mod poll;
mod publish;
mod publisher;
mod quotas;
mod reasons;
mod ring;
mod routing;
mod rules;
mod schema;
mod schemas;
mod slow;
mod support;
mod tls;
mod transport;
mod under_load;
