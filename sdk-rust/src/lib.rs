//! The client of EventFlow: publish events, read streams, consume in groups.
//!
//! ```no_run
//! use eventflow::{Client, Event, Result};
//! use futures_util::StreamExt;
//!
//! # async fn run() -> Result<()> {
//! let client = Client::connect("eventflow://localhost:50051").await?;
//!
//! let producer = client.producer("orders").build().await?;
//! let receipt = producer.send(Event::new("42 EUR").with_key("customer-7")).await?;
//! println!("durable at {:?}", receipt.await?);
//!
//! let mut consumer = client.consumer("billing").build().await?;
//! while let Some(record) = consumer.next().await {
//!     let record = record?;
//!     println!("{}@{}: {:?}", record.partition(), record.offset(), record.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! At-least-once delivery; exactly-once append, because producers are idempotent; exactly-once effects when you commit the
//! offset in your own Postgres transaction. A broker that dies, restarts or hands partitions over costs a moment, never an
//! error: producers resend what is in doubt, in order; consumers and readers resume where they were.
//!
//! # Errors
//!
//! Every call returns [`Error`], whose [`reason`](Error::reason) is what programs compare.

#![warn(missing_docs)]

pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod auth;
mod call;
mod client;
mod connection;
mod connection_string;
pub mod consumer;
mod convert;
pub mod dead_letters;
mod duplex;
pub mod error;
pub mod event;
pub mod explain;
mod group_spec;
pub mod groups;
mod limits;
mod options;
pub mod organization;
mod pages;
pub mod polling;
mod position;
pub mod producer;
pub mod read;
pub mod rules;
pub mod schemas;
pub mod streams;
pub mod users;
pub mod worker;

pub use crate::{
    client::Client,
    connection_string::{ConnectionString, DEFAULT_PORT, Host},
    consumer::{Consumer, Notice},
    error::{Applied, Error, ErrorKind, FieldViolation, Result},
    event::{Event, Header},
    groups::{DeliveryMode, GroupInfo, GroupSpec, OnFailure, OnTruncated, RetryPolicy},
    limits::Limits,
    options::{API_KEY_VARIABLE, ClientOptions, HostOrder, URL_VARIABLE},
    pages::Pages,
    polling::Poller,
    position::{Appended, Position, Record},
    producer::{Producer, Receipt},
    schemas::{SchemaCompatibility, SchemaEnforcement, SchemaInfo, SchemaPolicy},
    streams::{Purge, Retention, StreamInfo, StreamSpec},
    worker::{Failure, Job, Worker},
};

/// What the client says it is.
const USER_AGENT: &str = concat!("eventflow-rust/", env!("CARGO_PKG_VERSION"));
