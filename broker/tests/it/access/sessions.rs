//! Signing in and out, as an honest person and as a thief.

use crate::support::{Clients, Ground, PASSWORD, login, login_request, reason, turn};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, get_caller_response::Caller};
use eventflow_testkit::within;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What is promised of the end of a session.
const BOUND: Duration = Duration::from_secs(5);

async fn nobody(app: &App) -> Clients {
    Clients::new(app, "nobody").await
}

async fn works(app: &App, token: &str) -> Result<(), Status> {
    Clients::new(app, token).await.streams.get_limits(v1::GetLimitsRequest {}).await.map(drop)
}

async fn refresh(app: &App, token: &str) -> Result<v1::SessionTokens, Status> {
    let request = v1::RefreshSessionRequest { refresh_token: token.into() };
    Ok(nobody(app).await.auth.refresh_session(request).await?.into_inner().tokens.expect("tokens"))
}

async fn accept(app: &App, token: &str, password: &str) -> Result<(), Status> {
    let request = v1::AcceptInvitationRequest { token: token.into(), password: password.into() };
    nobody(app).await.auth.accept_invitation(request).await.map(drop)
}

async fn sign_in(app: &App, organization: &str, email: &str, password: &str) -> Result<v1::LoginResponse, Status> {
    let request = login_request(organization, email, password);
    nobody(app).await.auth.login(request).await.map(tonic::Response::into_inner)
}

/// Until the token is refused; how long that took.
async fn refused_after(app: &App, token: &str, since: Instant) -> Duration {
    let mut clients = Clients::new(app, token).await;
    within("a refusal", async {
        // poll
        while clients.streams.get_limits(v1::GetLimitsRequest {}).await.is_ok() {}
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_works_and_is_named_in_what_they_publish() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Editor).await;
    let answer = sign_in(&app, "acme", " Ada@Example.com", PASSWORD).await.expect("signed in");
    let (tokens, user) = (answer.tokens.expect("tokens"), answer.user.expect("a user"));
    assert_eq!((user.email.as_str(), user.role()), ("ada@example.com", v1::Role::Editor));
    let mut clients = Clients::new(&app, &tokens.access_token).await;
    let caller = clients.auth.get_caller(v1::GetCallerRequest {}).await.expect("a caller").into_inner();
    assert_eq!(caller.organization, "acme");
    assert!(matches!(caller.caller, Some(Caller::User(caller)) if caller.id == user.id));
    clients.create_stream("orders", 1).await;
    clients.publish("orders", 0, &["x"]).await;
    let get = v1::GetEventRequest { stream: "orders".into(), offset: Some(0), ..Default::default() };
    let event = clients.log.get_event(get).await.expect("an event").into_inner().event.expect("an event");
    assert_eq!(event.publisher, format!("user:{}", user.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_sign_in_the_answer_is_the_same() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Admin).await;
    ground.user(&app, "acme", "barred@example.com", Role::Viewer).await;
    ground.invitation("acme", "invited@example.com", Role::Viewer).await;
    ground.user(&app, "other", "bob@example.com", Role::Admin).await;
    let bar = "update eventflow.user_account set disabled = true where email = 'barred@example.com'";
    ground.database.connect().await.batch_execute(bar).await.expect("barred");
    let long = "x".repeat(10_000);
    let mut told = Vec::new();
    for (organization, email, password) in [
        ("acme", "ada@example.com", "wrong"),
        ("acme", "ada@example.com", ""),
        ("acme", "ada@example.com", &long),
        ("acme", "ada@example.com", "correct horse battery staple "),
        ("acme", "nobody@example.com", PASSWORD),
        ("acme", "barred@example.com", PASSWORD),
        ("acme", "invited@example.com", PASSWORD),
        ("acme", "bob@example.com", PASSWORD),
        ("nowhere", "ada@example.com", PASSWORD),
        ("acme", "nul\0@example.com", PASSWORD),
        ("acme", "' or 1=1 --", PASSWORD),
        ("", "", ""),
    ] {
        let status = sign_in(&app, organization, email, password).await.expect_err(email);
        told.push((status.code(), reason(&status), status.message().to_owned()));
    }
    assert!(told.iter().all(|status| *status == told[0]), "{told:?}");
    assert_eq!((told[0].0, told[0].1.as_str()), (Code::Unauthenticated, "LOGIN_FAILED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_works_once_and_one_that_comes_twice_ends_its_session() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let (first, other) = (login(&app, "acme", "ada@example.com").await, login(&app, "acme", "ada@example.com").await);
    let second = refresh(&app, &first.refresh_token).await.expect("refreshed");
    works(&app, &second.access_token).await.expect("it works");
    let status = refresh(&app, &first.refresh_token).await.expect_err("it was used");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_ENDED"));
    for token in [&first, &second] {
        assert_eq!(works(&app, &token.access_token).await.expect_err("ended").code(), Code::Unauthenticated);
    }
    assert_eq!(reason(&refresh(&app, &second.refresh_token).await.expect_err("ended")), "SESSION_ENDED");
    works(&app, &other.access_token).await.expect("another session is another one");
    for wrong in ["", "ef_refresh_x", &other.access_token] {
        assert_eq!(reason(&refresh(&app, wrong).await.expect_err("unknown")), "SESSION_ENDED");
    }
    // A refresh token is no access token.
    assert_eq!(works(&app, &other.refresh_token).await.expect_err("no key").code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_refreshes_at_the_same_time_one_wins() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    for _ in 0..10 {
        let tokens = login(&app, "acme", "ada@example.com").await;
        let (one, two) = tokio::join!(refresh(&app, &tokens.refresh_token), refresh(&app, &tokens.refresh_token));
        let won = [&one, &two].iter().filter(|outcome| outcome.is_ok()).count();
        // The winner's session may end before its tokens are made: the loser was a thief, for all that anybody can tell.
        assert!(won <= 1, "{one:?} {two:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_tokens_and_sessions_end_with_their_time() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    for late in [
        "update eventflow.refresh_token set expires_at = clock_timestamp()",
        "update eventflow.user_session set expires_at = clock_timestamp()",
        "update eventflow.user_account set disabled = true",
    ] {
        let tokens = login(&app, "acme", "ada@example.com").await;
        ground.database.connect().await.batch_execute(late).await.expect("late");
        assert_eq!(reason(&refresh(&app, &tokens.refresh_token).await.expect_err(late)), "SESSION_ENDED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_session_here_at_once_and_its_streams_elsewhere_in_seconds() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let (here, there) = (ground.broker(&[]).await, ground.broker(&[]).await);
    ground.user(&here, "acme", "ada@example.com", Role::Editor).await;
    let tokens = login(&here, "acme", "ada@example.com").await;
    Clients::new(&here, &tokens.access_token).await.create_stream("orders", 1).await;
    let follow = v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    let mut reading =
        Clients::new(&there, &tokens.access_token).await.log.read(follow).await.expect("a stream").into_inner();
    let logout = v1::LogoutRequest { refresh_token: tokens.refresh_token.clone() };
    let ended = Instant::now();
    nobody(&here).await.auth.logout(logout.clone()).await.expect("out");
    assert_eq!(works(&here, &tokens.access_token).await.expect_err("out").code(), Code::Unauthenticated);
    let status = within("the stream's end", async {
        loop {
            if let Err(status) = reading.message().await {
                return status;
            }
        }
    });
    assert_eq!(status.await.code(), Code::Unauthenticated);
    // bound: 5 s
    assert!(ended.elapsed() < BOUND, "{:?}", ended.elapsed());
    // bound: 5 s, and the call's own time
    assert!(refused_after(&there, &tokens.access_token, ended).await < BOUND + Duration::from_secs(1));
    nobody(&there).await.auth.logout(logout).await.expect("the same for a session that has ended");
    assert_eq!(reason(&refresh(&there, &tokens.refresh_token).await.expect_err("out")), "SESSION_ENDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_everywhere_ends_all_sessions_of_one_person() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let bob = ground.signed_in(&app, "acme", "bob@example.com", Role::Viewer).await;
    let (one, two) = (login(&app, "acme", "ada@example.com").await, login(&app, "acme", "ada@example.com").await);
    let mut clients = Clients::new(&app, &one.access_token).await;
    let answer = clients.auth.logout_everywhere(v1::LogoutEverywhereRequest {}).await.expect("out").into_inner();
    assert_eq!(answer.ended_sessions, 2);
    for tokens in [&one, &two] {
        assert_eq!(works(&app, &tokens.access_token).await.expect_err("out").code(), Code::Unauthenticated);
    }
    works(&app, &bob).await.expect("bob has nothing to do with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_sets_one_password_once_and_in_time() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let token = ground.invitation("acme", "ada@example.com", Role::Viewer).await;
    for (password, field) in [("short", "password"), ("password1", "password"), (&"x".repeat(129), "password")] {
        let status = accept(&app, &token, password).await.expect_err("refused");
        assert_eq!(status.get_details_bad_request().expect("fields").field_violations[0].field, field);
    }
    let (one, two) = tokio::join!(accept(&app, &token, "gxzpqrtv"), accept(&app, &token, "vtrqpzxg"));
    let won = if one.is_ok() { "gxzpqrtv" } else { "vtrqpzxg" };
    let lost = one.err().or(two.err()).expect("one of them");
    assert_eq!((lost.code(), reason(&lost).as_str()), (Code::InvalidArgument, "INVITATION_INVALID"));
    sign_in(&app, "acme", "ada@example.com", won).await.expect("the winner's password");
    let late = ground.invitation("acme", "bob@example.com", Role::Viewer).await;
    let sql = "update eventflow.user_account set invitation_expires_at = clock_timestamp()
        where invitation_expires_at is not null";
    ground.database.connect().await.batch_execute(sql).await.expect("late");
    assert_eq!(reason(&accept(&app, &late, PASSWORD).await.expect_err("late")), "INVITATION_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_the_other_sessions_and_not_ones_own() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let (own, other) = (login(&app, "acme", "ada@example.com").await, login(&app, "acme", "ada@example.com").await);
    let mut clients = Clients::new(&app, &own.access_token).await;
    let change =
        |old: &str, new: &str| v1::ChangePasswordRequest { old_password: old.into(), new_password: new.into() };
    let status = clients.auth.change_password(change("wrong", "gxzpqrtv")).await.expect_err("wrong");
    assert_eq!(reason(&status), "LOGIN_FAILED");
    let status = clients.auth.change_password(change(PASSWORD, "ada@example.com")).await.expect_err("obvious");
    assert_eq!(status.get_details_bad_request().expect("fields").field_violations[0].field, "new_password");
    clients.auth.change_password(change(PASSWORD, "gxzpqrtv")).await.expect("changed");
    works(&app, &own.access_token).await.expect("it goes on");
    assert_eq!(works(&app, &other.access_token).await.expect_err("ended").code(), Code::Unauthenticated);
    assert_eq!(reason(&sign_in(&app, "acme", "ada@example.com", PASSWORD).await.expect_err("old")), "LOGIN_FAILED");
    sign_in(&app, "acme", "ada@example.com", "gxzpqrtv").await.expect("new");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_slowed_down_and_so_is_a_guess_at_nobody() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    ground.user(&app, "acme", "bob@example.com", Role::Viewer).await;
    for email in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            let status = sign_in(&app, "acme", email, "wrong").await.expect_err("wrong");
            assert_eq!(reason(&status), "LOGIN_FAILED");
        }
        // The right password does not tell either.
        let status = sign_in(&app, "acme", email, PASSWORD).await.expect_err("slowed down");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"));
        let wait = status.get_details_retry_info().expect("a time").retry_delay.expect("a time");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(15 * 60), "{wait:?}");
    }
    sign_in(&app, "acme", "bob@example.com", PASSWORD).await.expect("bob is not concerned");
    let later = "update eventflow.sign_in_attempt set window_started_at = window_started_at - interval '15 min'";
    ground.database.connect().await.batch_execute(later).await.expect("later");
    sign_in(&app, "acme", "ada@example.com", PASSWORD).await.expect("nobody is locked out for good");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_an_account_is_in_any_table() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let invitation = ground.invitation("acme", "ada@example.com", Role::Admin).await;
    accept(&app, &invitation, PASSWORD).await.expect("accepted");
    let tokens = login(&app, "acme", "ada@example.com").await;
    let next = refresh(&app, &tokens.refresh_token).await.expect("refreshed");
    let user = v1::User { email: "bob@example.com".into(), role: v1::Role::Viewer.into(), ..Default::default() };
    let request = v1::InviteUserRequest { user: Some(user), request_id: uuid::Uuid::new_v4().to_string() };
    let mut clients = Clients::new(&app, &next.access_token).await;
    let invited = clients.users.invite_user(request.clone()).await.expect("invited").into_inner();
    let repeated = clients.users.invite_user(request).await.expect("the same").into_inner();
    assert_eq!((repeated.user, repeated.invitation.expect("one").token), (invited.user, String::new()));
    let second = invited.invitation.expect("one").token;
    let secrets = [PASSWORD, &invitation, &second, &tokens.refresh_token, &next.refresh_token, &next.access_token];
    let client = ground.database.connect().await;
    let tables = client
        .query("select tablename::text from pg_tables where schemaname = 'eventflow'", &[])
        .await
        .expect("tables");
    for table in tables.iter().map(|row| row.get::<_, String>(0)) {
        let rows = client.query(&format!("select t::text from eventflow.{table} t"), &[]).await.expect("rows");
        for row in rows {
            let row: String = row.get(0);
            for secret in secrets {
                let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert!(!row.contains(secret) && !row.contains(&hex), "{table} holds a secret");
            }
        }
    }
}
