//! Connection strings: `eventflow://host1:50051,host2:50051?tls=on|off`.
//!
//! ```
//! use eventflow::ConnectionString;
//!
//! let parsed: ConnectionString = "eventflow://broker-1.example,broker-2.example:50052".parse()?;
//! assert_eq!(parsed.hosts()[0].to_string(), "broker-1.example:50051");
//! assert!(parsed.tls());
//! # Ok::<(), eventflow::Error>(())
//! ```
//!
//! TLS is on unless every host is on loopback or the string says otherwise. A key may stand before the host
//! (`eventflow://ef_live_…@host`); that is accepted and flagged by [`ConnectionString::key_in_url`], because command lines
//! and logs are read by others: prefer `EVENTFLOW_API_KEY`. Every SDK passes `tests/connection-strings.json`.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::error::{Error, Result};

/// Port of a host that does not name one.
pub const DEFAULT_PORT: u16 = 50_051;

/// A broker's host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Name or address, without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
}

impl Host {
    /// True for `localhost` and loopback addresses.
    pub fn is_loopback(&self) -> bool {
        self.name.eq_ignore_ascii_case("localhost") || self.name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// A parsed connection string. Its `Debug` and `Display` never show a key.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString {
    hosts: Vec<Host>,
    tls: bool,
    api_key: Option<String>,
}

impl ConnectionString {
    /// The hosts, in the order given; at least one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whether the connection is encrypted.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// True: the string holds an API key, which deserves a warning where others can read it.
    pub fn key_in_url(&self) -> bool {
        self.api_key.is_some()
    }

    pub(crate) fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref()
    }
}

impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        write!(f, "eventflow://{}?tls={}", hosts.join(","), if self.tls { "on" } else { "off" })
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionString({self})")
    }
}

fn wrong(what: impl fmt::Display) -> Error {
    Error::invalid_options(format!(
        "bad connection string: {what}; it looks like `eventflow://host1:50051,host2:50051?tls=on`"
    ))
}

impl FromStr for ConnectionString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = match text.trim().split_once("://") {
            Some(("eventflow", rest)) => rest,
            Some((scheme, _)) => {
                return Err(wrong(format_args!("the scheme is `{scheme}`, not `eventflow`")));
            }
            None => return Err(wrong("it does not begin with `eventflow://`")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '#']) {
            return Err(wrong("there is something behind the hosts"));
        }
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        if user.is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(wrong("what stands before `@` is not an API key"));
        }
        let hosts = hosts.split(',').map(parse_host).collect::<Result<Vec<Host>>>()?;
        let tls = parse_query(query)?.unwrap_or_else(|| !hosts.iter().all(Host::is_loopback));
        Ok(Self { hosts, tls, api_key: user.map(str::to_owned) })
    }
}

fn parse_host(text: &str) -> Result<Host> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').ok_or_else(|| wrong(format_args!("`{text}` lacks a `]`")))?;
        if name.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(wrong(format_args!("`{name}` is not an IPv6 address")));
        }
        match rest {
            "" => (name, None),
            _ => (name, Some(rest.strip_prefix(':').ok_or_else(|| wrong(format_args!("`{text}` is not a host")))?)),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong(format_args!("put the IPv6 address `{text}` in brackets")));
            }
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(wrong(format_args!("`{name}` is not a host name")));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong(format_args!("`{port}` is not a port"))),
        },
    };
    Ok(Host { name: name.to_owned(), port })
}

fn parse_query(query: &str) -> Result<Option<bool>> {
    let mut tls = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("tls", _)) if tls.is_some() => return Err(wrong("`tls` is given twice")),
            Some(("tls", "on")) => tls = Some(true),
            Some(("tls", "off")) => tls = Some(false),
            Some(("tls", value)) => {
                return Err(wrong(format_args!("`tls={value}` is neither `on` nor `off`")));
            }
            _ => return Err(wrong(format_args!("`{pair}` is not known"))),
        }
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../tests/connection-strings.json");

    #[test]
    fn every_string_of_the_table_parses_as_every_sdk_must() {
        let table: serde_json::Value = serde_json::from_str(TABLE).expect("table is JSON");
        for case in table["cases"].as_array().expect("cases") {
            let text = case["string"].as_str().expect("string");
            let parsed = text.parse::<ConnectionString>();
            if case["error"].is_string() {
                let error = parsed.expect_err(text);
                let needle = case["error"].as_str().expect("error");
                assert!(error.message().contains(needle), "`{text}`: {error}");
                continue;
            }
            let parsed = parsed.expect(text);
            let hosts: Vec<String> = parsed.hosts().iter().map(Host::to_string).collect();
            let expected: Vec<&str> =
                case["hosts"].as_array().expect("hosts").iter().filter_map(|h| h.as_str()).collect();
            assert_eq!(hosts, expected, "hosts of `{text}`");
            assert_eq!(parsed.tls(), case["tls"].as_bool().expect("tls"), "tls of `{text}`");
            assert_eq!(parsed.api_key(), case["key"].as_str(), "key of `{text}`");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let parsed: ConnectionString = "eventflow://ef_live_secret@host".parse().expect("parses");
        assert!(parsed.key_in_url());
        assert!(!format!("{parsed} {parsed:?}").contains("secret"));
    }
}
