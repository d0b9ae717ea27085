//! What a peer must be able to do. Each is in a file of its own under `peers`.

use std::future::Future;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::server::Server;

/// A peer that cannot run here, and why.
#[derive(Debug)]
pub struct Absent(pub String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    pub version: String,
    pub configuration: String,
    /// What is on disk when a publish is acknowledged.
    pub flushed_before_ack: String,
    /// Whether every acknowledged event was flushed.
    pub is_flushed: bool,
}

/// How a producer gathers events that the application gives it one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// As the client does when told nothing.
    Default,
    /// As it does when told what suits it best.
    Best,
}

pub trait Peer {
    type Producer: Producer;
    type Consumer: Consumer;

    fn about(&self) -> About;
    fn server(&self) -> &Server;
    /// Creates a stream and groups that will read all of it.
    fn stream(&mut self, name: &str, groups: &[String]) -> impl Future<Output = Result<()>>;
    fn producer(&self, stream: &str, batching: Batching) -> impl Future<Output = Result<Self::Producer>>;
    /// The only member of a group, on a connection of its own.
    fn consumer(&self, stream: &str, group: &str) -> impl Future<Output = Result<Self::Consumer>>;
    /// How many events the server says it holds.
    fn stored(&self, stream: &str) -> impl Future<Output = Result<u64>>;
}

pub trait Producer: Send + 'static {
    /// One event, which the client may let wait for company. Waits for room.
    fn send(&mut self, payload: Bytes) -> impl Future<Output = Result<()>> + Send;
    /// Waits until all is acknowledged; how many have been, in all.
    fn flush(&mut self) -> impl Future<Output = Result<u64>> + Send;
    /// One event, until it is acknowledged, without waiting for company.
    fn one(&mut self, payload: Bytes) -> impl Future<Output = Result<()>> + Send;
}

pub trait Consumer: Send + 'static {
    /// The next events, at least one; settles those given before.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Bytes>>> + Send;
}
