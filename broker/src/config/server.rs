//! `[server]`: the gRPC port.

use super::reader::Reader;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// PEM files of a port that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities of the certificates that clients must show. `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

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
    /// Pages of these origins may call.
    pub browser_origins: Vec<String>,
    /// `None` is plaintext.
    pub tls: Option<TlsFiles>,
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
        let browser_origins = browser_origins(reader);
        let tls = tls_files(reader);
        Self { browser_origins, listen, advertise, max_connections, handshake_timeout, connection_age, reflection, tls }
    }
}

fn tls_files(reader: &mut Reader) -> Option<TlsFiles> {
    let mut file = |key| Some(reader.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (certificate, key) = (file("server.tls_certificate_file"), file("server.tls_key_file"));
    let client_ca = file("server.tls_client_ca_file");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, client_ca }),
        (None, None) => {
            if let Some(ca) = client_ca {
                let (shown, needs) = (format!("`{}`", ca.display()), "needs `server.tls_certificate_file` as well");
                reader.refuse("server.tls_client_ca_file", shown, needs);
            }
            None
        }
        (certificate, _) => {
            let missing = if certificate.is_some() { "server.tls_key_file" } else { "server.tls_certificate_file" };
            reader.refuse(missing, "``", "is missing: TLS needs a certificate and its key");
            None
        }
    }
}

fn browser_origins(reader: &mut Reader) -> Vec<String> {
    let text = reader.text("server.browser_origins");
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
        let allowed =
            "must be origins as browsers send them, such as `https://console.example.com`, with commas between";
        reader.refuse("server.browser_origins", format!("`{wrong}`"), allowed);
    }
    origins.into_iter().map(str::to_owned).collect()
}

/// Scheme, host in lower case, and the port unless it is the usual one: no path, no wildcard.
fn is_origin(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && host.chars().all(sound))
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
