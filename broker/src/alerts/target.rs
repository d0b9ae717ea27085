//! Where a webhook is, by its URL.

use super::address::Reach;
use super::webhook::Allowed;
use crate::domain::limits::WEBHOOK_URL_BYTES_MAX;
use http::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a webhook may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Https,
    /// Readable to whoever is in between.
    HttpToo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

/// A URL that a webhook may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub tls: bool,
    pub host: Host,
    pub port: u16,
    /// As the `host` header has it.
    pub authority: String,
    pub path: String,
}

impl Target {
    /// Reads a URL; what is wrong with it completes a sentence that begins with the field.
    pub(super) fn parse(text: &str, allowed: Allowed) -> Result<Self, String> {
        if text.len() > WEBHOOK_URL_BYTES_MAX {
            return Err(format!("must be at most {WEBHOOK_URL_BYTES_MAX} bytes long"));
        }
        let shape = "must be a URL such as `https://host/path`, without user or fragment";
        // A fragment would be cut off in silence.
        let uri: Uri = if text.contains('#') { None } else { text.parse().ok() }.ok_or(shape)?;
        let tls = match (uri.scheme_str(), allowed.scheme) {
            (Some("https"), _) => true,
            (Some("http"), Scheme::HttpToo) => false,
            (Some("http"), Scheme::Https) => return Err("must begin with `https://`".to_owned()),
            _ => return Err(shape.to_owned()),
        };
        let authority = uri.authority().ok_or(shape)?.as_str();
        let host = uri.host().unwrap_or_default();
        let port = match authority.strip_prefix(host) {
            Some("") if tls => 443,
            Some("") => 80,
            Some(port) => port.strip_prefix(':').and_then(port_number).ok_or("must have a port from 1 to 65535")?,
            // There is a user before it.
            None => return Err(shape.to_owned()),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: parse_host(host, allowed.reach)?, port, authority: authority.to_owned(), path })
    }
}

fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

fn parse_host(text: &str, reach: Reach) -> Result<Host, String> {
    let shape = || format!("must name a host, which `{text}` does not");
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => Some(IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| shape())?)),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    if let Some(address) = address {
        if !reach.covers(address) {
            return Err(format!("must lead to a public address, which `{address}` is not"));
        }
        return Ok(Host::Address(address));
    }
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // `2130706433`, `0x7f.1` and their kin are addresses to some resolvers.
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    if name.len() > 253 || !name.split('.').all(label) || number {
        return Err(shape());
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Allowed = Allowed { scheme: Scheme::Https, reach: Reach::Public };
    const LOOSE: Allowed = Allowed { scheme: Scheme::HttpToo, reach: Reach::PrivateToo };

    #[test]
    fn a_url_says_where_a_webhook_is() {
        let target = Target::parse("https://Hooks.example.com/eventflow?team=a", STRICT).expect("a target");
        let host = Host::Name("hooks.example.com".into());
        assert_eq!((target.tls, target.host, target.port), (true, host, 443));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("Hooks.example.com", "/eventflow?team=a"));
        let target = Target::parse("https://1.1.1.1:8443", STRICT).expect("a target");
        assert_eq!((target.host, target.port, target.path.as_str()), (Host::Address([1, 1, 1, 1].into()), 8443, "/"));
        assert_eq!(Target::parse("https://example.com?a=b", STRICT).expect("a target").path, "/?a=b");
        assert!(Target::parse("https://[2606:4700::1111]:443/", STRICT).is_ok());
        let target = Target::parse("http://localhost:9000/hook", LOOSE).expect("a target");
        assert_eq!((target.tls, target.port), (false, 9000));
    }

    #[test]
    fn what_may_be_no_webhook_is_refused() {
        for bad in [
            "",
            "hook",
            "/hook",
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://user@example.com/",
            "https://user:password@example.com/",
            "https://example.com/#part",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://example.com:/",
            "https://example.com:+80/",
            "https://exa mple.com/",
            "https://ex*mple.com/",
            "https://a..b/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://[::1",
            "https://[fe80::1%25eth0]/",
            "https://bücher.example/",
            &format!("https://example.com/{}", "a".repeat(2_048)),
        ] {
            assert!(Target::parse(bad, STRICT).is_err() && Target::parse(bad, LOOSE).is_err(), "{bad}");
        }
        for strictly_bad in
            ["http://example.com/", "https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://[fd00::1]/"]
        {
            assert!(Target::parse(strictly_bad, STRICT).is_err(), "{strictly_bad}");
            assert!(Target::parse(strictly_bad, LOOSE).is_ok(), "{strictly_bad}");
        }
        for never in
            ["https://169.254.169.254/latest/meta-data", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/"]
        {
            assert!(Target::parse(never, LOOSE).is_err(), "{never}");
        }
    }
}
