//! `[alerts]`: where webhooks may be.

use super::reader::Reader;

#[derive(Clone, Copy, Debug)]
pub struct Alerts {
    /// Webhooks may be spoken to without TLS.
    pub allow_http: bool,
    /// Webhooks may be in private networks, and on this machine.
    pub allow_private_addresses: bool,
}

impl Alerts {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            allow_http: reader.flag("alerts.allow_http"),
            allow_private_addresses: reader.flag("alerts.allow_private_addresses"),
        }
    }
}
