//! Names and numbers, parsed once: whoever holds one of these holds a valid one.

use crate::domain::{Error, Result, limits};
use std::{fmt, sync::Arc};
use uuid::Uuid;

/// The tenant. Owns everything; nothing crosses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganizationId(pub i64);

/// A stream, for ever: a recreated name is another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub i64);

/// A partition of a stream, unique in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub i64);

/// A processing rule, for ever: a recreated name is another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub i64);

/// An alert, for ever: a recreated name is another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertId(pub Uuid);

/// A consumer group, for ever: a recreated name is another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub i64);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name; `field` is the path that an error names.
            pub fn parse(field: &str, text: &str) -> Result<Self> {
                check_name(field, text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Name of a stream, plain within its organization.
    StreamName
);
name_type!(
    /// Name of a consumer group, plain within its organization.
    GroupName
);
name_type!(
    /// Name of a processing rule, plain within its stream.
    RuleName
);
name_type!(
    /// Name of an alert, plain within its consumer group.
    AlertName
);

fn check_name(field: &str, text: &str) -> Result<()> {
    let max = limits::NAME_BYTES_MAX;
    if text.is_empty() || text.len() > max {
        return Err(Error::invalid(field, format!("must be 1 to {max} bytes long, it has {}", text.len())));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let first = text.as_bytes()[0];
    if !text.bytes().all(allowed) || !(first.is_ascii_lowercase() || first.is_ascii_digit()) {
        return Err(Error::invalid(
            field,
            "may hold lower-case letters, digits, `.`, `_`, `-`, and must start with a letter or digit",
        ));
    }
    Ok(())
}

/// Name of a group's member: like other names, but upper-case letters are fine and any of them may come first.
pub fn check_member_name(field: &str, text: &str) -> Result<()> {
    let max = limits::NAME_BYTES_MAX;
    if text.is_empty() || text.len() > max {
        return Err(Error::invalid(field, format!("must be 1 to {max} bytes long, it has {}", text.len())));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(Error::invalid(field, "may hold letters, digits, `.`, `_`, `-`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_ascii_and_bounded() {
        for good in ["orders", "a", "0", "orders.eu-1_x", &"a".repeat(128)] {
            assert!(StreamName::parse("name", good).is_ok(), "`{good}`");
        }
        for bad in ["", ".orders", "-a", "Orders", "a/b", "ä", "a b", "a\0", &"a".repeat(129)] {
            let error = StreamName::parse("stream", bad).expect_err(bad);
            assert!(error.message().contains("`stream`"), "{error:?}");
        }
    }
}
