//! The binary as its users meet it: exit codes, what stands on which output, and whole instances from start to end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod alerts;
mod contexts;
mod demo;
mod dev;
mod events;
mod groups;
mod grpcurl;
mod keys;
mod mail;
mod offline;
mod people;
mod rules;
mod serve;
mod start;
mod support;
mod upgrade;
