//! The cookie in which a browser keeps the refresh token of a page's session, out of reach of the page's scripts.
//!
//! **Invariants:** the cookie is read for `RefreshSession` and `Logout` and for nothing else; it counts only in a gRPC-Web call,
//! which no form can send, and the door lets none of a foreign page through; a token that came in a cookie is answered in a
//! cookie only. `__Host-` makes browsers keep it for this host alone, whatever its subdomains and neighbours try to set.
//!
//! Pages without TLS have a cookie of another name, because not all browsers keep `__Host-` for `http://localhost`. It is as
//! `Secure`, so browsers keep it for this machine at most, and no page under TLS ever uses it.

use super::convert::user::tokens;
use super::layers::came_from_page;
use crate::domain::{Error, Result};
use crate::identity::Issued;
use eventflow_proto::v1::SessionTokens;
use tonic::{Request, Response, Status, metadata::AsciiMetadataValue};

const NAME: &str = "__Host-eventflow_refresh";
const NAME_WITHOUT_TLS: &str = "eventflow_refresh";
const MICROSECONDS: i64 = 1_000_000;

/// Where the client of a session keeps its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    Client,
    /// In the cookie of that name.
    Cookie(&'static str),
}

impl Keeping {
    /// What a sign-in asks for.
    pub fn asked<T>(request: &Request<T>, session_cookie: bool) -> Result<Self> {
        match (session_cookie, came_from_page(request)) {
            (false, _) => Ok(Self::Client),
            (true, true) => Ok(Self::Cookie(name(request))),
            (true, false) => Err(Error::invalid("session_cookie", "is for pages in a browser, which call by gRPC-Web")),
        }
    }

    /// The answer, with the refresh token where it belongs.
    pub fn answer<R>(self, mut issued: Issued, answer: impl FnOnce(SessionTokens) -> R) -> Result<Response<R>, Status> {
        let Self::Cookie(name) = self else {
            return Ok(Response::new(answer(tokens(issued))));
        };
        let token = std::mem::take(&mut issued.refresh_token);
        // A part of a second counts as a whole one: the database decides when the token ends.
        let seconds = (issued.refresh_expires_at - issued.issued_at + MICROSECONDS - 1) / MICROSECONDS;
        with_cookie(answer(tokens(issued)), name, (&token, seconds))
    }

    /// The answer to a logout: the browser forgets what it kept.
    pub fn forget<R>(self, answer: R) -> Result<Response<R>, Status> {
        match self {
            Self::Client => Ok(Response::new(answer)),
            Self::Cookie(name) => with_cookie(answer, name, ("", 0)),
        }
    }
}

/// The refresh token of a request, and where its client keeps it: in the field, or for a page that leaves that empty, in the
/// cookie. Without a cookie, or with several, of which nobody can tell the right one, it is a token that nobody knows.
pub fn presented<T>(request: &Request<T>, field: &str) -> (String, Keeping) {
    if !field.is_empty() || !came_from_page(request) {
        return (field.to_owned(), Keeping::Client);
    }
    let cookie = name(request);
    let headers = request.metadata().get_all("cookie").iter();
    let mut found = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == cookie));
    let token = match (found.next(), found.next()) {
        (Some((_, token)), None) => token.to_owned(),
        _ => String::new(),
    };
    (token, Keeping::Cookie(cookie))
}

/// What the cookie of the page that calls is called.
fn name<T>(request: &Request<T>) -> &'static str {
    let origin = request.metadata().get("origin").map_or(&b""[..], |origin| origin.as_bytes());
    if origin.starts_with(b"http://") { NAME_WITHOUT_TLS } else { NAME }
}

fn with_cookie<R>(answer: R, name: &str, (token, seconds): (&str, i64)) -> Result<Response<R>, Status> {
    let cookie = format!("{name}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    let mut cookie: AsciiMetadataValue = cookie.parse().map_err(Error::internal)?;
    cookie.set_sensitive(true);
    let mut response = Response::new(answer);
    response.metadata_mut().insert("set-cookie", cookie);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_grpc_web_a_cookie_is_nothing() {
        let mut request = Request::new(());
        request.metadata_mut().insert("cookie", format!("{NAME}=ef_refresh_x").parse().expect("ascii"));
        assert_eq!(presented(&request, ""), (String::new(), Keeping::Client));
        assert_eq!(presented(&request, "ef_refresh_y"), ("ef_refresh_y".to_owned(), Keeping::Client));
        assert!(Keeping::asked(&request, true).is_err());
    }
}
