//! Integration tests of the client, in one binary: against brokers in memory, over real sockets.

mod connection;
mod consumer;
mod fake;
mod producer;
mod reader;
mod shared_stream;
mod tls;
