//! Patterns of stream names: name characters, and `*` for any run of them, an empty one too.

use super::limits::NAME_BYTES_MAX;
use super::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Such as `orders.*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads the pattern in `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(known) {
            let rule = "must be 1 to 128 lower-case letters, digits, `.`, `_`, `-`, and `*` for any run of them";
            return Err(Error::invalid(field, format!("`{}`: {rule}", text.escape_debug())));
        }
        Ok(Self(text.into()))
    }

    /// Whether the whole name matches. Linear in the name for each run of characters in the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The meaning, without cleverness.
    fn means(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, _) => name.is_empty(),
            (Some(b'*'), _) => means(&pattern[1..], name) || (!name.is_empty() && means(pattern, &name[1..])),
            (Some(letter), Some(same)) if letter == same => means(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, name, matched) in [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("*", "anything", true),
            ("orders.*", "orders.", true),
            ("orders.*", "orders", false),
            ("*.audit", "eu.audit", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(Pattern::parse("streams", pattern).expect("good").matches(name), matched, "{pattern} {name}");
        }
    }

    #[test]
    fn what_no_name_could_match_is_refused() {
        for bad in ["", "Orders", "a/b", "a b", "ä", "a\n", "?", &"a".repeat(129)] {
            assert!(Pattern::parse("streams", bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_it_means(pattern in "[ab*]{1,8}", name in "[ab]{0,10}") {
            let matched = Pattern::parse("streams", &pattern).expect("good").matches(&name);
            prop_assert_eq!(matched, means(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
