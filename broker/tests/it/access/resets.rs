//! Forgotten passwords and invitations by mail, to a mail server over a real socket, as an honest person and as a thief.

use crate::support::{Clients, Ground, PASSWORD, login, login_request, reason};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use eventflow_testkit::{MailServer, Manner, TakenMail, within};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A broker that sends mail there.
async fn broker(ground: &Ground, mail: &MailServer) -> App {
    let settings = [
        ("mail.url", mail.url()),
        ("mail.from", "EventFlow <no-reply@example.com>".to_owned()),
        ("mail.link_url", "https://console.example.com/".to_owned()),
    ];
    ground.broker(&settings.each_ref().map(|(key, value)| (*key, value.as_str()))).await
}

async fn ask(app: &App, organization: &str, email: &str) -> Result<(), Status> {
    let request = v1::RequestPasswordResetRequest { organization: organization.into(), email: email.into() };
    Clients::new(app, "nobody").await.auth.request_password_reset(request).await.map(drop)
}

async fn reset(app: &App, token: &str, password: &str) -> Result<(), Status> {
    let request = v1::ResetPasswordRequest { token: token.into(), new_password: password.into() };
    Clients::new(app, "nobody").await.auth.reset_password(request).await.map(drop)
}

async fn sign_in(app: &App, email: &str, password: &str) -> Result<(), Status> {
    Clients::new(app, "nobody").await.auth.login(login_request("acme", email, password)).await.map(drop)
}

/// The token in a letter.
fn token(letter: &TakenMail) -> String {
    let line = letter.text.lines().map(str::trim).find(|line| line.starts_with("ef_"));
    line.unwrap_or_else(|| panic!("no token in\n{}", letter.text)).to_owned()
}

/// Until the desk has looked at everything that was asked before: a letter to somebody whom nobody else writes to.
async fn until_all_are_answered(ground: &Ground, app: &App, mail: &MailServer) {
    let email = format!("last-{}@example.com", uuid::Uuid::new_v4().simple());
    ground.user(app, "acme", &email, Role::Viewer).await;
    ask(app, "acme", &email).await.expect("asked");
    mail.letter_to(&email).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_forgot_a_password_gets_a_letter_and_sets_another_once() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    ground.user(&app, "acme", "ada@example.com", Role::Admin).await;
    let before = login(&app, "acme", "ada@example.com").await;
    ask(&app, "acme", " Ada@Example.com").await.expect("asked");
    let letter = mail.letter(1).await;
    assert_eq!(letter.recipients, ["ada@example.com"]);
    assert!(letter.text.contains("\n    acme\n") && letter.text.contains("From: EventFlow <no-reply@example.com>\n"));
    let token = token(&letter);
    assert!(letter.text.contains(&format!("https://console.example.com/reset-password#{token}\n")), "{}", letter.text);
    sign_in(&app, "ada@example.com", PASSWORD).await.expect("the old password goes on until then");
    for weak in ["short", "password1", &"x".repeat(129)] {
        let status = reset(&app, &token, weak).await.expect_err("refused");
        assert_eq!(status.get_details_bad_request().expect("fields").field_violations[0].field, "new_password");
    }
    reset(&app, &token, "gxzpqrtv-ada").await.expect("reset");
    let status = reset(&app, &token, "gxzpqrtv-eve").await.expect_err("used up");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVITATION_INVALID"));
    assert_eq!(reason(&sign_in(&app, "ada@example.com", PASSWORD).await.expect_err("the old one")), "LOGIN_FAILED");
    sign_in(&app, "ada@example.com", "gxzpqrtv-ada").await.expect("the new one");
    let refresh = v1::RefreshSessionRequest { refresh_token: before.refresh_token };
    let status = Clients::new(&app, "nobody").await.auth.refresh_session(refresh).await.expect_err("ended");
    assert_eq!(reason(&status), "SESSION_ENDED");
    let mut ended = Clients::new(&app, &before.access_token).await;
    within("the end of the session", async {
        // poll
        while ended.streams.get_limits(v1::GetLimitsRequest {}).await.is_ok() {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_the_same_whoever_is_asked_about_and_only_accounts_get_letters() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    ground.user(&app, "acme", "ada@example.com", Role::Admin).await;
    ground.user(&app, "acme", "barred@example.com", Role::Viewer).await;
    let invitation = ground.invitation("acme", "invited@example.com", Role::Viewer).await;
    ground.user(&app, "globex", "bob@example.com", Role::Admin).await;
    let bar = "update eventflow.user_account set disabled = true where email = 'barred@example.com'";
    ground.database.connect().await.batch_execute(bar).await.expect("barred");
    let long = "x".repeat(10_000);
    for (organization, email) in [
        ("acme", "ada@example.com"),
        ("acme", "nobody@example.com"),
        ("acme", "barred@example.com"),
        ("acme", "invited@example.com"),
        ("acme", "bob@example.com"),
        ("nowhere", "ada@example.com"),
        ("acme", "ada@example.com\r\nBcc: eve@example.com"),
        ("acme", "nul\0@example.com"),
        ("acme", "' or 1=1 --"),
        ("acme", &long),
        ("", ""),
    ] {
        ask(&app, organization, email).await.unwrap_or_else(|status| panic!("{email}: {status:?}"));
    }
    until_all_are_answered(&ground, &app, &mail).await;
    let letters = mail.letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!(letters[0].recipients, ["ada@example.com"]);
    assert!(!letters[0].text.contains("globex") && !letters[0].text.contains("bob"), "{}", letters[0].text);
    // Nobody takes an invitation away by asking.
    let accept = v1::AcceptInvitationRequest { token: invitation, password: PASSWORD.into() };
    Clients::new(&app, "nobody").await.auth.accept_invitation(accept).await.expect("it is still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uses_of_a_token_at_the_same_time_one_wins() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let (here, there) = (broker(&ground, &mail).await, broker(&ground, &mail).await);
    ground.user(&here, "acme", "ada@example.com", Role::Viewer).await;
    for number in 1..=4 {
        ask(&here, "acme", "ada@example.com").await.expect("asked");
        let token = token(&mail.letter(number).await);
        let (one, two) = tokio::join!(reset(&here, &token, "gxzpqrtv-one"), reset(&there, &token, "gxzpqrtv-two"));
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let (won, lost) = if one.is_ok() { ("gxzpqrtv-one", "gxzpqrtv-two") } else { ("gxzpqrtv-two", "gxzpqrtv-one") };
        sign_in(&here, "ada@example.com", won).await.expect("the winner's password");
        assert_eq!(reason(&sign_in(&there, "ada@example.com", lost).await.expect_err("not that")), "LOGIN_FAILED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time_with_a_newer_one_with_the_account_and_with_a_changed_password() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    let database = ground.database.connect().await;
    let mut number = 0;
    for (email, late) in [
        ("one@example.com", "update eventflow.user_account set invitation_expires_at = clock_timestamp() where true"),
        ("two@example.com", "update eventflow.user_account set disabled = true"),
        ("three@example.com", "delete from eventflow.user_account"),
    ] {
        ground.user(&app, "acme", email, Role::Viewer).await;
        number += 1;
        ask(&app, "acme", email).await.expect("asked");
        let token = token(&mail.letter(number).await);
        if number == 1 {
            let sql = "select extract(epoch from invitation_expires_at - clock_timestamp())::float8 from eventflow.user_account";
            let left: f64 = database.query_one(sql, &[]).await.expect("an account").get(0);
            assert!((1_700.0..=1_800.0).contains(&left), "30 minutes, not {left} s");
        }
        database.batch_execute(late).await.expect(late);
        assert_eq!(reason(&reset(&app, &token, "gxzpqrtv").await.expect_err(late)), "INVITATION_INVALID");
    }
    let access = ground.signed_in(&app, "acme", "ada@example.com", Role::Viewer).await;
    ask(&app, "acme", "ada@example.com").await.expect("asked");
    ask(&app, "acme", "ada@example.com").await.expect("asked");
    let (first, second) = (token(&mail.letter(number + 1).await), token(&mail.letter(number + 2).await));
    // Two letters may overtake each other; one of their tokens counts.
    let hashed = "select count(*) from eventflow.user_account where invitation_sha256 = sha256($1)";
    let counts: i64 = database.query_one(hashed, &[&first.as_bytes()]).await.expect("a count").get(0);
    let (stale, newest) = if counts == 1 { (second, first) } else { (first, second) };
    assert_eq!(reason(&reset(&app, &stale, "gxzpqrtv").await.expect_err("an older one")), "INVITATION_INVALID");
    let change = v1::ChangePasswordRequest { old_password: PASSWORD.into(), new_password: "gxzpqrtv-ada".into() };
    Clients::new(&app, &access).await.auth.change_password(change).await.expect("changed");
    assert_eq!(reason(&reset(&app, &newest, "gxzpqrtv").await.expect_err("a new password")), "INVITATION_INVALID");
    for wrong in ["", "ef_reset_x", &access] {
        assert_eq!(reason(&reset(&app, wrong, "gxzpqrtv").await.expect_err("unknown")), "INVITATION_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_is_throttled_by_account_and_by_address_whether_or_not_there_is_one() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    for email in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..5 {
            ask(&app, "acme", email).await.expect("asked");
        }
        let status = ask(&app, "acme", email).await.expect_err("too often");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"));
        assert!(status.get_details_retry_info().is_some());
    }
    sign_in(&app, "ada@example.com", PASSWORD).await.expect("the victim signs in all the same");
    for number in 0..40 {
        ask(&app, "acme", &format!("nobody-{number}@example.com")).await.expect("asked");
    }
    let status = ask(&app, "acme", "one-more@example.com").await.expect_err("too often from one address");
    assert_eq!(reason(&status), "TOO_MANY_ATTEMPTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_mail_says_so_whoever_is_asked_about() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Viewer).await;
    let mut told = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        let status = ask(&app, "acme", email).await.expect_err("no mail");
        told.push((status.code(), reason(&status), status.message().to_owned()));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!((told[0].0, told[0].1.as_str()), (Code::FailedPrecondition, "MAIL_NOT_CONFIGURED"));
}

fn invite(email: &str, name: &str) -> v1::InviteUserRequest {
    let user = v1::User { email: email.into(), name: name.into(), role: v1::Role::Viewer.into(), ..Default::default() };
    v1::InviteUserRequest { user: Some(user), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_and_an_admins_reset_are_mailed_and_answered() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    let token_of_admin = ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await;
    let mut admin = Clients::new(&app, &token_of_admin).await;
    // Nothing that an admin has typed but the address is in the letter.
    let rename = v1::UpdateOrganizationRequest {
        organization: Some(v1::Organization { display_name: "Win a prize!".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        ..Default::default()
    };
    admin.organizations.update_organization(rename).await.expect("renamed");
    let answer = admin.users.invite_user(invite("bob@example.com", "Bob <eve@example.com>")).await.expect("invited");
    let (answer, letter) = (answer.into_inner(), mail.letter(1).await);
    let invitation = answer.invitation.expect("an invitation");
    assert!(invitation.mailed);
    assert_eq!(
        (letter.recipients.as_slice(), token(&letter)),
        (["bob@example.com".to_owned()].as_slice(), invitation.token)
    );
    for typed in ["prize", "Bob", "eve@", "ada@example.com"] {
        assert!(!letter.text.contains(typed), "`{typed}` in\n{}", letter.text);
    }
    let id = answer.user.expect("a user").id;
    let reset = v1::ResetUserRequest { id, ..Default::default() };
    let answer = admin.users.reset_user(reset).await.expect("reset").into_inner().invitation.expect("one");
    assert_eq!((token(&mail.letter(2).await), true), (answer.token, answer.mailed));
    for bad in ["x@y\r\nBcc: eve@example.com", "x@y\nz"] {
        let status = admin.users.invite_user(invite(bad, "")).await.expect_err("no address");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
    let status =
        admin.users.invite_user(invite("x@example.com", "X\r\nBcc: eve@example.com")).await.expect_err("no name");
    assert_eq!(reason(&status), "INVALID_ARGUMENT");
    // What accounts may be called and mail may not: they are invited without one.
    let answer = admin.users.invite_user(invite("a,b@example.com", "")).await.expect("invited").into_inner();
    let invitation = answer.invitation.expect("an invitation");
    assert!(!invitation.token.is_empty() && !invitation.mailed);
    assert_eq!(mail.letters().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_write_to_a_hundred_people_and_then_hand_invitations_over_themselves() {
    let ground = Ground::new().await;
    let mail = MailServer::start(Manner::Takes).await;
    let app = broker(&ground, &mail).await;
    let mut admin = Clients::new(&app, &ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await).await;
    let mut mailed = 0;
    for number in 0..101 {
        let answer = admin.users.invite_user(invite(&format!("u{number}@example.com"), "")).await.expect("invited");
        mailed += usize::from(answer.into_inner().invitation.expect("an invitation").mailed);
    }
    assert_eq!(mailed, 100);
    let mut other = Clients::new(&app, &ground.signed_in(&app, "other", "eve@example.com", Role::Admin).await).await;
    let answer = other.users.invite_user(invite("z@example.com", "")).await.expect("invited").into_inner();
    assert!(answer.invitation.expect("an invitation").mailed, "another organization");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_mail_server_is_asked_again_and_one_that_refuses_is_not() {
    let ground = Ground::new().await;
    let (busy, refusing) = (MailServer::start(Manner::Busy(1)).await, MailServer::start(Manner::Refuses).await);
    let (here, there) = (broker(&ground, &busy).await, broker(&ground, &refusing).await);
    ground.user(&here, "acme", "ada@example.com", Role::Viewer).await;
    ground.user(&here, "acme", "bob@example.com", Role::Viewer).await;
    ask(&there, "acme", "bob@example.com").await.expect("the same answer");
    ask(&here, "acme", "ada@example.com").await.expect("asked");
    reset(&here, &token(&busy.letter(1).await), "gxzpqrtv").await.expect("a token that came late works");
    refusing.attempts(1).await;
    let failed = async {
        // poll
        while !eventflow_broker::telemetry::metrics::render()
            .lines()
            .any(|line| line.strip_prefix("eventflow_failed_mails_total ").is_some_and(|count| count.trim() != "0"))
        {
            tokio::task::yield_now().await;
        }
    };
    within("a failure that is counted", failed).await;
    assert!(refusing.letters().is_empty());
    assert_eq!(busy.letters().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mail_server_costs_nobody_anything_but_the_letter() {
    let ground = Ground::new().await;
    let silent = MailServer::start(Manner::Silent).await;
    let app = broker(&ground, &silent).await;
    let nowhere = MailServer::start(Manner::Takes).await;
    let gone = broker(&ground, &nowhere).await;
    drop(nowhere);
    let mut admin = Clients::new(&app, &ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await).await;
    for app in [&app, &gone] {
        ask(app, "acme", "ada@example.com").await.expect("the same answer");
        sign_in(app, "ada@example.com", PASSWORD).await.expect("others do not notice");
    }
    silent.attempts(1).await;
    // The invitation is made, and its token is in the answer.
    let answer = admin.users.invite_user(invite("bob@example.com", "")).await.expect("invited").into_inner();
    let token = answer.invitation.expect("an invitation").token;
    let accept = v1::AcceptInvitationRequest { token, password: PASSWORD.into() };
    admin.auth.accept_invitation(accept).await.expect("accepted");
    let outcome = app.stop().await;
    assert!(outcome.cut_short.is_empty(), "{outcome}");
}
