//! `[accounts]`: how people get in.

use super::reader::Reader;

/// Who may make an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Operators.
    Closed,
    /// Everybody.
    Open,
}

#[derive(Clone, Debug)]
pub struct Accounts {
    pub registration: Registration,
}

impl Accounts {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let words = [("closed", Registration::Closed), ("open", Registration::Open)];
        Self { registration: reader.word("accounts.registration", &words) }
    }
}
