//! What a new key may do, as the command line says it.

use eventflow::api_keys::{Grant, Scope};

use crate::failure::{Failure, Result};

const SCOPES: [(&str, Scope); 4] =
    [("publish", Scope::Publish), ("consume", Scope::Consume), ("read", Scope::Read), ("manage", Scope::Manage)];

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
        let all = SCOPES.map(|(name, _)| name.to_owned());
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

/// The same for the client: one grant a scope.
pub fn grants(texts: &[String]) -> Result<Vec<Grant>> {
    let mut grants: Vec<Grant> = Vec::new();
    for text in texts {
        let (scope, pattern) = text.split_once(':').map_or((text.as_str(), None), |(scope, of)| (scope, Some(of)));
        let known = SCOPES.iter().find(|(name, _)| *name == scope);
        let Some((_, scope)) = known.copied() else {
            let names = SCOPES.map(|(name, _)| name).join(", ");
            return Err(Failure::usage(format!("`{scope}` is no scope: {names}")));
        };
        grants.push(match pattern {
            Some(pattern) => Grant::in_streams(scope, [pattern]),
            None => Grant::everywhere(scope),
        });
    }
    Ok(grants)
}

/// Grants as they are written on the command line.
pub fn written(grants: &[Grant]) -> Vec<String> {
    let written = grants.iter().flat_map(|grant| {
        let scope = SCOPES.iter().find(|(_, scope)| *scope == grant.scope).map_or("unknown", |(name, _)| name);
        match grant.streams.as_slice() {
            [] => vec![scope.to_owned()],
            streams => streams.iter().map(|pattern| format!("{scope}:{pattern}")).collect(),
        }
    });
    written.collect()
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

    #[test]
    fn scopes_are_written_as_they_were_read() {
        let said = texts(&["read:a", "publish"], &["b", "c.*"]).unwrap();
        assert_eq!(written(&grants(&said).unwrap()), said);
        assert!(grants(&["everything".to_owned()]).is_err());
    }
}
