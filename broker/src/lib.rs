//! The EventFlow broker, room by room, in the order in which data flows.
//!
//! - [`grpc`] and [`http`]: the doors. Authenticate, convert, call, convert.
//! - [`identity`]: who is calling ([`identity::Caller`]), and the proof that they may ([`identity::Granted`]).
//! - [`catalogue`]: streams and consumer groups as the services see them.
//! - [`schemas`]: schemas of streams, registered, compiled and asked.
//! - [`publish`]: admit, validate, route, and append through lanes.
//! - [`tail`]: the newest events in memory, and who waits for them.
//! - [`groups`]: membership, leases, assignment, fencing.
//! - [`delivery`]: one session a subscriber; reading the log; committing progress.
//! - [`mail`]: letters to people, on their way to a mail server.
//! - [`rules`]: processing rules, carried out behind the log.
//! - [`alerts`]: thresholds on how far groups are behind, and who is told.
//! - [`jobs`]: what happens without being asked: sweeping, retention, pruning.
//! - [`limits`]: quotas and rates of organizations and credentials.
//! - [`redis`]: what brokers may share beside Postgres, when they have one.
//! - [`store`]: the only room with SQL.
//! - [`domain`]: pure values and decisions, used by all of them.
//! - [`config`], [`telemetry`], [`runtime`]: how the rooms are furnished, watched, opened and closed.
//!
//! Calls go one way: doors → services → store. What comes back is a value or a stream of values.

pub mod alerts;
pub mod catalogue;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod groups;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod limits;
pub mod mail;
pub mod publish;
pub mod redis;
pub mod rules;
pub mod runtime;
pub mod schemas;
pub mod store;
pub mod tail;
pub mod telemetry;
