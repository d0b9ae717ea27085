//! The cookie that keeps the refresh token of a page's session, as an honest browser, a foreign page and a thief send it.

use super::{ADMITTED, PAGE, call, parts};
use crate::access::dynamic::methods;
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, PASSWORD, login_request, reason};
use crate::transport::wire::{exchange, message, request, send_bare, status};
use bytes::Bytes;
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use http::{HeaderMap, HeaderName};
use prost::Message;
use std::net::SocketAddr;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const COOKIE: &str = "__Host-eventflow_refresh";
const LOGIN: &str = "Login";
const REGISTER: &str = "Register";
const REFRESH: &str = "RefreshSession";
const LOGOUT: &str = "Logout";
const CLEARED: &str = "__Host-eventflow_refresh=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0";

/// What comes back over HTTP/1.
struct Said {
    http: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Said {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let (http, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
        let headers = headers(lines);
        let rest = &bytes[end + 4..];
        let body = if headers.contains_key("transfer-encoding") { dechunked(rest) } else { rest.to_vec() };
        Self { http: http.to_owned(), headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    /// The only Set-Cookie.
    fn set_cookie(&self) -> &str {
        assert!(self.headers.get_all("set-cookie").iter().count() <= 1);
        self.header("set-cookie")
    }

    /// What the browser keeps.
    fn token(&self) -> String {
        let kept = self.set_cookie().strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('='));
        kept.unwrap_or_default().split(';').next().expect("a value").to_owned()
    }

    fn answer<M: Message + Default>(&self) -> Result<M, Status> {
        assert!(self.http.starts_with("HTTP/1.1 200 "), "{}", self.http);
        if let Some(status) = Status::from_header_map(&self.headers) {
            return Err(status);
        }
        let (messages, trailers) = parts(Bytes::copy_from_slice(&self.body));
        let status = Status::from_header_map(&headers(&trailers)).expect("a status");
        if status.code() == Code::Ok { Ok(M::decode(messages[0].clone()).expect("an answer")) } else { Err(status) }
    }

    fn refused(&self) -> (Code, String) {
        let status = self.answer::<v1::LogoutResponse>().expect_err("refused");
        (status.code(), reason(&status))
    }
}

fn headers(lines: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
    }
    headers
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("text"), 16).expect("a length");
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..][..length]);
        rest = &rest[end + 2 + length + 2..];
    }
}

/// One call of `AuthService` on a connection of its own.
async fn said(to: SocketAddr, rpc: &str, headers: &[(&str, &str)], body: &impl Message) -> Said {
    let body = message(body);
    let mut head = format!("POST /eventflow.v1.AuthService/{rpc} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    Said::read(&exchange(to, &[head.as_bytes(), &body].concat()).await)
}

/// An honest page's.
async fn of_page(to: SocketAddr, rpc: &str, cookie: &str, body: &impl Message) -> Said {
    let headers = [("content-type", "application/grpc-web+proto"), ("origin", PAGE), ("cookie", cookie)];
    said(to, rpc, &headers, body).await
}

/// As a browser sends it.
fn jar(token: &str) -> String {
    format!("{COOKIE}={token}")
}

fn ada(session_cookie: bool) -> v1::LoginRequest {
    v1::LoginRequest { session_cookie, ..login_request("acme", "ada@example.com", PASSWORD) }
}

const ASK: v1::RefreshSessionRequest = v1::RefreshSessionRequest { refresh_token: String::new() };
const LEAVE: v1::LogoutRequest = v1::LogoutRequest { refresh_token: String::new() };

async fn refresh(to: SocketAddr, token: &str) -> Said {
    of_page(to, REFRESH, &jar(token), &ASK).await
}

async fn works(app: &App, tokens: &v1::SessionTokens) -> Result<(), Status> {
    Clients::new(app, &tokens.access_token).await.auth.get_caller(v1::GetCallerRequest {}).await.map(drop)
}

/// A broker with a page's session: the tokens of the answer, and the one in the cookie.
async fn signed_in(ground: &Ground) -> (App, v1::SessionTokens, String) {
    let app = ground.broker(&ADMITTED).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let login = of_page(app.grpc_address(), LOGIN, "theme=dark", &ada(true)).await;
    let tokens = login.answer::<v1::LoginResponse>().expect("signed in").tokens.expect("tokens");
    (app, tokens, login.token())
}

/// `Max-Age` is the life of the token, which the database counts from a moment earlier.
fn assert_kept(said: &Said) {
    let token = said.token();
    assert!(token.starts_with("ef_refresh_") && token.len() == 54, "{}", said.set_cookie());
    let expected = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=");
    let age = said.set_cookie().strip_prefix(&expected).unwrap_or_else(|| panic!("{}", said.set_cookie()));
    assert!((604_790..=604_800).contains(&age.parse::<u32>().expect("seconds")), "{age}");
    assert!(!String::from_utf8_lossy(&said.body).contains(&token), "the page can read the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_signs_in_and_its_browser_keeps_the_refresh_token_where_no_script_reads_it() {
    let ground = Ground::new().await;
    let app = ground.broker(&[ADMITTED[0], ("accounts.registration", "open")]).await;
    let register = v1::RegisterRequest {
        organization: "acme".into(),
        email: "ada@example.com".into(),
        password: PASSWORD.into(),
        session_cookie: true,
        ..Default::default()
    };
    let register = of_page(app.grpc_address(), REGISTER, "", &register).await;
    let registered = register.answer::<v1::RegisterResponse>().expect("registered").tokens.expect("tokens");
    let login = of_page(app.grpc_address(), LOGIN, &jar("of-yesterday"), &ada(true)).await;
    let logged_in = login.answer::<v1::LoginResponse>().expect("signed in").tokens.expect("tokens");
    for (said, tokens) in [(&register, &registered), (&login, &logged_in)] {
        assert_kept(said);
        assert_eq!(said.header("access-control-allow-origin"), PAGE);
        assert_eq!((said.header("access-control-allow-credentials"), said.header("vary")), ("true", "origin"));
        assert!(!said.header("access-control-expose-headers").contains("cookie"));
        assert!(tokens.refresh_token.is_empty() && tokens.refresh_expire_time.is_some(), "{tokens:?}");
        works(&app, tokens).await.expect("an access token");
    }
    // Who does not ask for the cookie has the token in the answer, and no cookie.
    let login = of_page(app.grpc_address(), LOGIN, "", &ada(false)).await;
    let tokens = login.answer::<v1::LoginResponse>().expect("signed in").tokens.expect("tokens");
    let held = v1::RefreshSessionRequest { refresh_token: tokens.refresh_token };
    let refreshed = of_page(app.grpc_address(), REFRESH, &jar(&register.token()), &held).await;
    let tokens = refreshed.answer::<v1::RefreshSessionResponse>().expect("refreshed").tokens.expect("tokens");
    assert!(tokens.refresh_token.starts_with("ef_refresh_"));
    assert_eq!((login.set_cookie(), refreshed.set_cookie()), ("", ""));
    // The cookie that came along was not used up.
    assert_kept(&refresh(app.grpc_address(), &register.token()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_exchanged_for_another_and_one_that_comes_twice_ends_its_session() {
    let ground = Ground::new().await;
    let (app, first, cookie) = signed_in(&ground).await;
    let second = refresh(app.grpc_address(), &cookie).await;
    assert_kept(&second);
    assert_ne!(second.token(), cookie);
    let third = refresh(app.grpc_address(), &second.token()).await;
    assert_kept(&third);
    let tokens = third.answer::<v1::RefreshSessionResponse>().expect("refreshed").tokens.expect("tokens");
    assert!(tokens.refresh_token.is_empty());
    works(&app, &tokens).await.expect("an access token");
    let stolen = refresh(app.grpc_address(), &cookie).await;
    assert_eq!(stolen.refused(), (Code::Unauthenticated, "SESSION_ENDED".to_owned()));
    assert_eq!(stolen.set_cookie(), "");
    assert_eq!(refresh(app.grpc_address(), &third.token()).await.refused().1, "SESSION_ENDED");
    for tokens in [&first, &tokens] {
        assert_eq!(works(&app, tokens).await.expect_err("ended").code(), Code::Unauthenticated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_by_cookie_ends_the_session_and_has_the_browser_forget_it() {
    let ground = Ground::new().await;
    let (app, tokens, cookie) = signed_in(&ground).await;
    let out = of_page(app.grpc_address(), LOGOUT, &jar(&cookie), &LEAVE).await;
    out.answer::<v1::LogoutResponse>().expect("out");
    assert_eq!(out.set_cookie(), CLEARED);
    assert_eq!(works(&app, &tokens).await.expect_err("out").code(), Code::Unauthenticated);
    assert_eq!(refresh(app.grpc_address(), &cookie).await.refused().1, "SESSION_ENDED");
    let again = of_page(app.grpc_address(), LOGOUT, "", &LEAVE).await;
    again.answer::<v1::LogoutResponse>().expect("the same for whoever has no session");
    assert_eq!(again.set_cookie(), CLEARED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_cannot_ride_on_the_cookie() {
    let ground = Ground::new().await;
    let (app, tokens, cookie) = signed_in(&ground).await;
    let (to, cookie) = (app.grpc_address(), jar(&cookie));
    for origin in ["https://evil.example", "null", "http://console.example.com", "https://x", "*", ""] {
        let headers = [("content-type", "application/grpc-web+proto"), ("origin", origin), ("cookie", &cookie)];
        let answers = [
            said(to, REFRESH, &headers, &ASK).await,
            said(to, LOGOUT, &headers, &LEAVE).await,
            said(to, LOGIN, &headers, &ada(true)).await,
        ];
        for answer in answers {
            assert_eq!(answer.refused(), (Code::PermissionDenied, "ORIGIN_NOT_ADMITTED".to_owned()), "`{origin}`");
            assert_eq!((answer.set_cookie(), answer.header("access-control-allow-origin")), ("", ""), "`{origin}`");
            assert_eq!(answer.header("access-control-allow-credentials"), "", "`{origin}`");
        }
    }
    // What a form can send needs no leave of the browser, with or without an origin.
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/grpc"]
    {
        for origin in [("origin", "https://evil.example"), ("x-none", "")] {
            let headers = [("content-type", kind), origin, ("cookie", &cookie)];
            let (refresh, logout) = (said(to, REFRESH, &headers, &ASK).await, said(to, LOGOUT, &headers, &LEAVE).await);
            for answer in [refresh, logout] {
                assert!(!answer.http.starts_with("HTTP/1.1 200 "), "{kind}: {}", answer.http);
                assert_eq!(answer.set_cookie(), "", "{kind}");
            }
        }
    }
    // None of that used anything up, or ended anything.
    works(&app, &tokens).await.expect("the session goes on");
    assert_kept(&of_page(to, REFRESH, &cookie, &ASK).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_without_an_origin_and_the_brokers_own_pages_may_use_a_cookie() {
    let ground = Ground::new().await;
    let (app, _, cookie) = signed_in(&ground).await;
    let (to, own) = (app.grpc_address(), format!("http://{}", app.grpc_address()));
    let kind = ("content-type", "application/grpc-web");
    let without = said(to, REFRESH, &[kind, ("cookie", &jar(&cookie))], &ASK).await;
    assert_kept(&without);
    assert_eq!(without.header("access-control-allow-credentials"), "");
    // A page without TLS has a cookie of another name, and the one of pages under TLS is nothing to it.
    let page = [kind, ("origin", own.as_str())];
    let refused = said(to, REFRESH, &[page[0], page[1], ("cookie", &jar(&without.token()))], &ASK).await;
    assert_eq!(refused.refused(), (Code::Unauthenticated, "SESSION_ENDED".to_owned()));
    let login = said(to, LOGIN, &page, &ada(true)).await;
    let pair = |said: &Said| said.set_cookie().split(';').next().expect("a cookie").to_owned();
    let next = said(to, REFRESH, &[page[0], page[1], ("cookie", &pair(&login))], &ASK).await;
    for said in [&login, &next] {
        let (pair, rest) = said.set_cookie().split_once("; ").expect("attributes");
        assert!(pair.starts_with("eventflow_refresh=ef_refresh_"), "{pair}");
        assert!(rest.starts_with("Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=604"), "{rest}");
        assert_eq!(said.header("access-control-allow-origin"), own);
    }
    let out = said(to, LOGOUT, &[page[0], page[1], ("cookie", &pair(&next))], &LEAVE).await;
    assert_eq!(out.set_cookie(), CLEARED.trim_start_matches("__Host-"));
    assert_eq!(
        said(to, REFRESH, &[page[0], page[1], ("cookie", &pair(&next))], &ASK).await.refused().1,
        "SESSION_ENDED"
    );
    // The name by which the caller reaches the broker does not make a page its own.
    let headers = [kind, ("origin", "http://x"), ("cookie", &jar(&without.token()))];
    assert_eq!(said(to, REFRESH, &headers, &ASK).await.refused().1, "ORIGIN_NOT_ADMITTED");
    assert_kept(&said(to, REFRESH, &[kind, ("cookie", &jar(&without.token()))], &ASK).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_call_in_grpc_a_cookie_is_nothing() {
    let ground = Ground::new().await;
    let (app, tokens, cookie) = signed_in(&ground).await;
    let cookie = jar(&cookie);
    let grpc = async |rpc: &str, body: Bytes| {
        let path = format!("/eventflow.v1.AuthService/{rpc}");
        status(send_bare(app.grpc_address(), request(&path, &[("cookie", &cookie)], body)).await).await
    };
    let (refused, _) = grpc(REFRESH, message(&ASK)).await;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SESSION_ENDED"));
    let (out, headers) = grpc(LOGOUT, message(&LEAVE)).await;
    assert!(out.code() == Code::Ok && !headers.contains_key("set-cookie"), "{out:?}");
    let (refused, headers) = grpc(LOGIN, message(&ada(true))).await;
    assert_eq!(refused.get_details_bad_request().expect("fields").field_violations[0].field, "session_cookie");
    assert!(!headers.contains_key("set-cookie"));
    works(&app, &tokens).await.expect("nothing ended");
    assert_kept(&of_page(app.grpc_address(), REFRESH, &cookie, &ASK).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_cookies_of_the_name_or_a_strange_one_are_nobodys() {
    let ground = Ground::new().await;
    let (app, tokens, cookie) = signed_in(&ground).await;
    let (to, good) = (app.grpc_address(), jar(&cookie));
    let long = jar(&format!("{cookie}{}", "x".repeat(8_000)));
    for strange in [
        String::new(),
        format!("{good}; {}", jar("ef_refresh_planted")),
        format!("{}; {good}", jar("ef_refresh_planted")),
        format!("{good}; {good}"),
        long,
        jar(""),
        jar(&format!("\"{cookie}\"")),
        COOKIE.to_owned(),
        good.replace("__Host-", ""),
        good.to_lowercase(),
        good.replace("ef_refresh_", "ef_refresh_%00"),
    ] {
        assert_eq!(of_page(to, REFRESH, &strange, &ASK).await.refused().1, "SESSION_ENDED", "`{strange}`");
        of_page(to, LOGOUT, &strange, &LEAVE).await.answer::<v1::LogoutResponse>().expect("nobody's");
    }
    let headers = [("content-type", "application/grpc-web"), ("cookie", &good), ("cookie", &jar("ef_refresh_planted"))];
    assert_eq!(said(to, REFRESH, &headers, &ASK).await.refused().1, "SESSION_ENDED");
    let beyond = of_page(to, REFRESH, &jar(&"x".repeat(20_000)), &ASK).await;
    assert!(beyond.http.starts_with("HTTP/1.1 431 "), "{}", beyond.http);
    works(&app, &tokens).await.expect("nothing ended");
    assert_kept(&of_page(to, REFRESH, &format!("theme=dark; {good}; lang=en"), &ASK).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_a_credential_for_refresh_and_logout_and_for_nothing_else() {
    let ground = Ground::new().await;
    let (app, tokens, cookie) = signed_in(&ground).await;
    let open = [LOGIN, REGISTER, REFRESH, LOGOUT, "AcceptInvitation", "RequestPasswordReset", "ResetPassword"];
    let open = open.map(|rpc| format!("AuthService/{rpc}"));
    let mut tried = 0;
    for (name, method) in methods().iter().filter(|(name, _)| !open.contains(name)) {
        let cookies = format!("{}; authorization=Bearer {cookie}", jar(&cookie));
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let headers = [("cookie", cookies.as_str()), ("origin", PAGE)];
        let expected = if method.is_client_streaming() { "12" } else { "16" };
        assert_eq!(call(&app, &path, &headers, Bytes::from_static(&[0; 5])).await.status(), expected, "{name}");
        tried += 1;
    }
    assert!(tried > 50, "only {tried} methods");
    works(&app, &tokens).await.expect("nothing ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cookie_is_in_a_log_or_a_table() {
    let ground = Ground::new().await;
    let settings = [ADMITTED[0], ("log.level", "trace")];
    let broker = BrokerProcess::start(&ground.database.url(), &settings).await;
    let to: SocketAddr = broker.url().strip_prefix("http://").expect("http").parse().expect("an address");
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let login = of_page(to, LOGIN, "", &ada(true)).await;
    let next = refresh(to, &login.token()).await;
    let stolen = refresh(to, &login.token()).await;
    assert_eq!(stolen.refused().1, "SESSION_ENDED");
    of_page(to, LOGOUT, &jar(&next.token()), &LEAVE).await.answer::<v1::LogoutResponse>().expect("out");
    let listed = "select count(*) from eventflow.audit_event where action = 'RefreshSession' and result = 'failed'";
    let client = ground.database.connect().await;
    eventflow_testkit::within("the audit entry", async {
        // poll
        while client.query_one(listed, &[]).await.expect("a count").get::<_, i64>(0) == 0 {}
    })
    .await;
    let log = broker.lines().join("\n");
    assert!(log.contains("a refresh token came twice"), "the log is not what this test takes it for");
    let tables = "select tablename::text from pg_tables where schemaname = 'eventflow'";
    for token in [login.token(), next.token()] {
        let secret = &token["ef_refresh_".len()..];
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!log.contains(secret), "the log holds a cookie");
        for table in client.query(tables, &[]).await.expect("tables").iter().map(|row| row.get::<_, String>(0)) {
            for row in client.query(&format!("select t::text from eventflow.{table} t"), &[]).await.expect("rows") {
                let row: String = row.get(0);
                assert!(!row.contains(secret) && !row.contains(&hex), "{table} holds a cookie");
            }
        }
    }
}
