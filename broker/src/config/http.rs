//! `[http]`: the plaintext port for probes and metrics.

use super::reader::Reader;
use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
}

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { listen: reader.address("http.listen") }
    }
}
