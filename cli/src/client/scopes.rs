//! What a new key may do, as the command line says it.

use crate::failure::{Failure, Result};

/// `--scope publish --scope consume:billing.*`, or `--scope publish --streams 'orders.*'` for all scopes at once.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Arguments {
    /// What the key may do: publish, consume, read or manage, each with :PATTERN for some streams only; may be repeated
    /// [default: all four]
    #[arg(long = "scope", value_name = "SCOPE[:PATTERN]")]
    scopes: Vec<String>,
    /// Only in streams whose name matches, such as 'orders.*'; for scopes without a pattern of their own; may be repeated
    #[arg(long = "streams", value_name = "PATTERN")]
    streams: Vec<String>,
}

impl Arguments {
    /// Scopes, each with its pattern.
    pub fn texts(&self) -> Result<Vec<String>> {
        let all = ["publish", "consume", "read", "manage"].map(str::to_owned);
        let scopes = if self.scopes.is_empty() { &all } else { self.scopes.as_slice() };
        if self.streams.is_empty() {
            return Ok(scopes.to_vec());
        }
        let (narrow, wide): (Vec<&String>, Vec<&String>) = scopes.iter().partition(|scope| scope.contains(':'));
        if wide.is_empty() {
            return Err(Failure::usage("every --scope names its streams already; leave --streams away"));
        }
        let each = wide.iter().flat_map(|scope| self.streams.iter().map(move |streams| format!("{scope}:{streams}")));
        Ok(narrow.into_iter().cloned().chain(each).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scopes: &[&str], streams: &[&str]) -> Result<Vec<String>> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Arguments { scopes: owned(scopes), streams: owned(streams) }.texts()
    }

    #[test]
    fn a_key_may_do_everything_unless_told() {
        assert_eq!(texts(&[], &[]).unwrap(), ["publish", "consume", "read", "manage"]);
        assert_eq!(texts(&["read"], &[]).unwrap(), ["read"]);
    }

    #[test]
    fn streams_narrow_the_scopes_that_name_none() {
        assert_eq!(texts(&["read:a", "publish"], &["b", "c.*"]).unwrap(), ["read:a", "publish:b", "publish:c.*"]);
        assert_eq!(texts(&[], &["b"]).unwrap().len(), 4);
        assert!(texts(&["read:a"], &["b"]).is_err());
    }
}
