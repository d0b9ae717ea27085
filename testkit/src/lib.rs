//! What tests stand on: databases, clusters, fault proxies and processes. Unpublished.
//!
//! - [`Database`]: a database of its own for each test, cloned from a template, dropped afterwards. With the
//!   feature `broker` it is migrated.
//! - [`OwnCluster`]: a Postgres of its own, for tests that stop, freeze, kill or fail it over.
//! - [`RedisServer`]: a Redis of its own, for tests that freeze, kill and restart it, where the machine has one.
//! - [`SmallDisk`]: a file system that fills up, where this process may mount one.
//! - [`TcpProxy`]: any TCP or unix-socket upstream behind delays, throttles, stalls, cuts and refusals.
//! - [`PgProxy`]: the same for Postgres, aware of its messages: "cut before the reply of the third append".
//! - `WithKey`, with the same feature: the key of a client of the raw API.
//! - [`MailServer`]: keeps the letters that it is given, with TLS or without, or does not take them.
//! - [`WebhookReceiver`]: keeps what is posted to it, with TLS or without, and answers as it is told.
//! - [`Process`]: a program under test, its output awaited line by line, its signals sent.
//!
//! All of it waits on signals, never on sleeps, and panics with a sentence when the ground it stands on fails:
//! a test has nobody to hand such an error to.

#![expect(
    clippy::disallowed_methods,
    reason = "the kit is no part of a broker: it has neither its task set nor its configuration"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod database;
mod mail_server;
#[cfg(feature = "broker")]
mod migrated;
mod own_cluster;
mod pg_proxy;
mod ports;
mod process;
mod receiver;
mod redis;
mod server;
mod small_disk;
mod sql;
mod tcp_proxy;
mod template;
mod upstream;
#[cfg(feature = "broker")]
mod with_key;
mod within;

pub use database::Database;
pub use mail_server::{MailServer, MailTls, Manner, TakenMail};
pub use own_cluster::OwnCluster;
pub use pg_proxy::{Action, Counts, Match, PgProxy, Rule, Step};
pub use ports::{free_port, free_ports, listener};
pub use process::{Output, Process, Signal, built_binary};
pub use receiver::{Reply, TakenPost, WebhookReceiver};
pub use redis::{RedisOptions, RedisServer};
pub use server::{DATABASE_URL, Server};
pub use small_disk::SmallDisk;
pub use tcp_proxy::{Counters, Direction, ProxyHandle, TcpProxy};
pub use upstream::Upstream;
#[cfg(feature = "broker")]
pub use with_key::WithKey;
pub use within::{PATIENCE, within};

pub use eventflow_embedded::{Connection, Settings, Stop};
