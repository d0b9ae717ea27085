//! `[mail]`: how people are written to.

use super::reader::Reader;
use std::fmt;

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailServer {
    /// Nowhere: whoever needs a mail is refused.
    None,
    /// Into the log, with the secrets in it.
    Log,
    Smtp(Smtp),
}

/// How the connection to an SMTP server is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    Tls,
    /// TLS after `STARTTLS`, without which nothing is said.
    StartTls,
    /// Plaintext, on this machine only.
    Off,
}

/// An SMTP server.
#[derive(Clone, PartialEq, Eq)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    /// User and password. Never log them.
    pub login: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Mail {
    pub server: MailServer,
    /// Whose mail it is, such as `EventFlow <no-reply@example.com>`.
    pub from: String,
    /// What links in mails begin with. `None`: there are none.
    pub link_url: Option<String>,
}

impl Mail {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let server = server(&reader.text("mail.url")).unwrap_or_else(|wrong| {
            reader.refuse("mail.url", "(hidden)", wrong);
            MailServer::None
        });
        let mut from = reader.text("mail.from");
        if from.is_empty() && !matches!(server, MailServer::Smtp(_)) {
            from = "EventFlow <eventflow@localhost>".to_owned();
        } else if !from.contains('@') || from.contains(char::is_control) {
            let needs = "must be an address such as `EventFlow <no-reply@example.com>`";
            reader.refuse("mail.from", format!("`{}`", from.escape_debug()), needs);
        }
        let link_url = reader.text("mail.link_url");
        let sound = |url: &str| {
            url.starts_with("http") && url.contains("://") && !url.contains(|c: char| c.is_whitespace() || c == '#')
        };
        if !link_url.is_empty() && !sound(&link_url) {
            let needs = "must be a URL such as `https://console.example.com`";
            reader.refuse("mail.link_url", format!("`{link_url}`"), needs);
        }
        let link_url = link_url.trim_end_matches('/').to_owned();
        Self { server, from, link_url: (!link_url.is_empty()).then_some(link_url) }
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = self.login.as_ref().map(|_| "(hidden)");
        let Self { host, port, security, .. } = self;
        write!(f, "Smtp {{ host: {host:?}, port: {port}, security: {security:?}, login: {login:?} }}")
    }
}

/// Reads `smtps://user:password@host:port` and its kin. What is wrong is said without the value, which may hold a password.
fn server(text: &str) -> Result<MailServer, &'static str> {
    const SHAPE: &str = "must be `smtps://user:password@host:port` (TLS), `smtp://…` (STARTTLS), or `log:`";
    match text {
        "" => return Ok(MailServer::None),
        "log:" => return Ok(MailServer::Log),
        _ => {}
    }
    let (scheme, rest) = text.split_once("://").ok_or(SHAPE)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (security, default_port) = match (scheme, query) {
        ("smtps", "") => (SmtpSecurity::Tls, 465),
        ("smtp", "") => (SmtpSecurity::StartTls, 587),
        ("smtp", "tls=off") => (SmtpSecurity::Off, 25),
        _ => return Err(SHAPE),
    };
    let (login, place) = match rest.trim_end_matches('/').rsplit_once('@') {
        None => (None, rest.trim_end_matches('/')),
        Some((login, place)) => {
            let (user, password) = login.split_once(':').ok_or("has a user without a password")?;
            let plain = |text| decoded(text).ok_or("has a user or password that is not percent-encoded UTF-8");
            (Some((plain(user)?, plain(password)?)), place)
        }
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| SHAPE)?),
        _ => (place, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@".contains(c)) {
        return Err(SHAPE);
    }
    if security == SmtpSecurity::Off && !is_this_machine(host) {
        return Err("has `tls=off`, which is for this machine only: mails hold secrets");
    }
    Ok(MailServer::Smtp(Smtp { host: host.to_owned(), port, security, login }))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(text: &str) -> (String, u16, SmtpSecurity, Option<(String, String)>) {
        match server(text) {
            Ok(MailServer::Smtp(Smtp { host, port, security, login })) => (host, port, security, login),
            other => panic!("`{text}` is {other:?}"),
        }
    }

    #[test]
    fn a_url_says_where_mail_goes_and_how_it_is_kept_secret() {
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(server(""), Ok(MailServer::None));
        assert_eq!(server("log:"), Ok(MailServer::Log));
        let full = smtp("smtps://ada%40example.com:a%3Ab%2F%25@mail.example.com:4465/");
        assert_eq!(full, ("mail.example.com".into(), 4465, SmtpSecurity::Tls, login("ada@example.com", "a:b/%")));
        assert_eq!(smtp("smtps://mail"), ("mail".into(), 465, SmtpSecurity::Tls, None));
        assert_eq!(smtp("smtp://mail"), ("mail".into(), 587, SmtpSecurity::StartTls, None));
        assert_eq!(smtp("smtp://[::1]:2525?tls=off"), ("::1".into(), 2525, SmtpSecurity::Off, None));
        assert_eq!(smtp("smtp://localhost?tls=off"), ("localhost".into(), 25, SmtpSecurity::Off, None));
    }

    #[test]
    fn what_is_no_url_of_a_mail_server_is_refused() {
        for wrong in [
            "mail.example.com",
            "http://mail",
            "smtp://",
            "smtps://user@mail",
            "smtps://user:%zz@mail",
            "smtps://mail:port",
            "smtps://mail?tls=off",
            "smtp://mail?tls=off",
            "smtp://mail?tls=maybe",
            "smtp://mail/inbox",
            "log",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
