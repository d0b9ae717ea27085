//! `[server]`: the gRPC port.

use super::reader::Reader;
use std::{net::SocketAddr, time::Duration};

/// Who may ask for descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// Everybody.
    Open,
    /// Whoever has an API key.
    Key,
    /// Nobody: the service does not exist.
    Off,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub listen: SocketAddr,
    /// `host:port` at which others reach this broker; `listen` unless set.
    pub advertise: String,
    pub max_connections: usize,
    pub handshake_timeout: Duration,
    /// Age after which a connection is asked to go. `None` is never.
    pub connection_age: Option<Duration>,
    pub reflection: Reflection,
}

impl Server {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.address("server.listen");
        let mut advertise = reader.text("server.advertise");
        if advertise.is_empty() {
            advertise = listen.to_string();
        } else if !is_host_and_port(&advertise) {
            reader.refuse("server.advertise", format!("`{advertise}`"), "must be `host:port`");
        }
        let max_connections = reader.size("server.max_connections", "connections", 1..=1_000_000);
        let handshake_timeout = reader.milliseconds("server.handshake_timeout_ms", 100..=120_000);
        let age = reader.seconds("server.connection_age_s", 0..=604_800);
        let reflection = reader.word(
            "server.reflection",
            &[("key", Reflection::Key), ("open", Reflection::Open), ("off", Reflection::Off)],
        );
        let connection_age = (!age.is_zero()).then_some(age);
        Self { listen, advertise, max_connections, handshake_timeout, connection_age, reflection }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
