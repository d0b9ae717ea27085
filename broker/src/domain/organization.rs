//! Organizations, as the people in them see their own.

use super::{Applied, Error, Reason, Result};

const NAME_BYTES: std::ops::RangeInclusive<usize> = 3..=63;
const DISPLAY_NAME_BYTES_MAX: usize = 128;

/// An organization. Times are microseconds since 1970, by the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    pub name: String,
    pub display_name: String,
    pub created_at: i64,
}

/// The name of an organization that somebody registers: people type it when they sign in, so that none looks like another one.
/// Operators may use other names.
pub fn check_organization_name(field: &str, name: &str) -> Result<()> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends_well = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if !NAME_BYTES.contains(&name.len()) || !name.bytes().all(sound) || !ends_well {
        let message = "must be 3 to 63 of a-z, 0-9 and `-`, begin with a letter and not end with `-`";
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

/// What people call it.
pub fn check_display_name(field: &str, name: &str) -> Result<()> {
    if name.len() > DISPLAY_NAME_BYTES_MAX || name.contains(char::is_control) {
        let message = format!("must be at most {DISPLAY_NAME_BYTES_MAX} bytes without control characters");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

pub fn organization_exists(name: &str) -> Error {
    let message = format!("the organization `{name}` exists already; choose another name, or ask one of its admins");
    Error::new(Reason::OrganizationExists, message).applied(Applied::No)
}

pub fn registration_closed() -> Error {
    let message = "nobody registers by themselves here; ask the operator, or an admin of your organization";
    Error::new(Reason::RegistrationClosed, message).applied(Applied::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_typed_easily_and_looks_like_no_other() {
        for good in ["acme", "abc", "a-1", &"a".repeat(63)] {
            check_organization_name("organization", good).expect(good);
        }
        let long = "a".repeat(64);
        for bad in ["", "ab", "Acme", "acmé", "1acme", "-acme", "acme-", "ac me", "ac.me", "аcme", "acme\n", &long] {
            let error = check_organization_name("organization", bad).expect_err(bad);
            assert_eq!(error.violations()[0].field, "organization");
        }
    }
}
