//! `[publish]`: admission.

use super::reader::Reader;
use crate::domain::limits;

#[derive(Clone, Debug)]
pub struct Publish {
    /// Bytes of events that may wait to be appended.
    pub in_flight_bytes: usize,
    pub create_missing_streams: bool,
}

impl Publish {
    pub(super) fn read(reader: &mut Reader) -> Self {
        // Less than one full request could never be admitted.
        let least = i64::try_from(limits::MESSAGE_BYTES_MAX).unwrap_or(i64::MAX);
        Self {
            in_flight_bytes: reader.size("publish.in_flight_bytes", "bytes", least..=1 << 40),
            create_missing_streams: reader.flag("publish.create_missing_streams"),
        }
    }
}
