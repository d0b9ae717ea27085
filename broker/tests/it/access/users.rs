//! The people of an organization, and what becomes of them.

use crate::support::{Clients, Ground, PASSWORD, login, login_request, reason, turn};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use eventflow_testkit::within;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// What is promised of a change of role.
const BOUND: Duration = Duration::from_secs(5);

async fn admin(ground: &Ground, app: &App, organization: &str) -> Clients {
    let email = format!("admin@{organization}.example");
    Clients::new(app, &ground.signed_in(app, organization, &email, Role::Admin).await).await
}

async fn list(clients: &mut Clients) -> Vec<v1::User> {
    clients.users.list_users(v1::ListUsersRequest::default()).await.expect("a page").into_inner().users
}

async fn id_of(clients: &mut Clients, email: &str) -> String {
    list(clients).await.into_iter().find(|user| user.email == email).expect("a user").id
}

fn invite(email: &str, role: v1::Role) -> v1::InviteUserRequest {
    let user = v1::User { email: email.into(), name: "Ada".into(), role: role.into(), ..Default::default() };
    v1::InviteUserRequest { user: Some(user), ..Default::default() }
}

fn change(id: &str, path: &str, role: v1::Role, disabled: bool) -> v1::UpdateUserRequest {
    let user = v1::User { id: id.into(), role: role.into(), disabled, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec![path.into()] });
    v1::UpdateUserRequest { user: Some(user), update_mask, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_invited_accepts_and_is_listed() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut admin = admin(&ground, &app, "acme").await;
    let invited = admin.users.invite_user(invite("Ada@Example.com", v1::Role::Editor)).await.expect("invited");
    let invited = invited.into_inner();
    let user = invited.user.expect("a user");
    assert_eq!((user.email.as_str(), user.role(), user.invited), ("ada@example.com", v1::Role::Editor, true));
    let status = admin.users.invite_user(invite("ada@example.com", v1::Role::Viewer)).await.expect_err("taken");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "USER_EXISTS"));
    let token = invited.invitation.expect("an invitation").token;
    let accept = v1::AcceptInvitationRequest { token, password: PASSWORD.into() };
    admin.auth.accept_invitation(accept).await.expect("accepted");
    login(&app, "acme", "ada@example.com").await;
    let users = list(&mut admin).await;
    let emails: Vec<&str> = users.iter().map(|user| user.email.as_str()).collect();
    assert_eq!(emails, ["ada@example.com", "admin@acme.example"]);
    assert!(!users[0].invited && users[0].last_login_time.is_some(), "{:?}", users[0]);
    for (email, role) in [("ada", v1::Role::Viewer), ("ada@example.org", v1::Role::Unspecified)] {
        let status = admin.users.invite_user(invite(email, role)).await.expect_err("refused");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_user_is_as_absent_as_one_that_never_was() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let (mut ours, mut theirs) = (admin(&ground, &app, "acme").await, admin(&ground, &app, "other").await);
    let id = id_of(&mut ours, "admin@acme.example").await;
    assert_eq!(list(&mut theirs).await.len(), 1);
    let told = |status: Status| (status.code(), reason(&status), status.message().to_owned());
    let absent = theirs.users.get_user(v1::GetUserRequest { id: uuid::Uuid::new_v4().to_string() }).await;
    let absent = told(absent.expect_err("absent"));
    assert_eq!((absent.0, absent.1.as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    let reset = v1::ResetUserRequest { id: id.clone(), ..Default::default() };
    let remove = v1::RemoveUserRequest { id: id.clone(), ..Default::default() };
    for status in [
        theirs.users.get_user(v1::GetUserRequest { id: id.clone() }).await.expect_err("foreign"),
        theirs.users.reset_user(reset).await.expect_err("foreign"),
        theirs.users.update_user(change(&id, "disabled", v1::Role::Admin, true)).await.expect_err("foreign"),
        theirs.users.remove_user(remove).await.expect_err("foreign"),
        theirs.users.get_user(v1::GetUserRequest { id: "' or 1=1".into() }).await.expect_err("no id"),
    ] {
        assert_eq!(told(status), absent);
    }
    login(&app, "acme", "admin@acme.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_keeps_an_admin_who_can_sign_in() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut one = admin(&ground, &app, "acme").await;
    let id = id_of(&mut one, "admin@acme.example").await;
    // An admin who has not accepted the invitation cannot let anybody in.
    one.users.invite_user(invite("later@example.com", v1::Role::Admin)).await.expect("invited");
    let remove = |id: &str| v1::RemoveUserRequest { id: id.into(), ..Default::default() };
    for status in [
        one.users.update_user(change(&id, "role", v1::Role::Editor, false)).await.expect_err("the last"),
        one.users.update_user(change(&id, "disabled", v1::Role::Admin, true)).await.expect_err("the last"),
        one.users.remove_user(remove(&id)).await.expect_err("the last"),
    ] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "LAST_ADMIN"));
    }
    let token = ground.signed_in(&app, "acme", "two@example.com", Role::Admin).await;
    let mut two = Clients::new(&app, &token).await;
    let other = id_of(&mut one, "two@example.com").await;
    // Each takes the other one away, at the same moment.
    let (first, second) = tokio::join!(one.users.remove_user(remove(&other)), two.users.remove_user(remove(&id)));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_role_counts_at_every_broker_within_seconds_and_ends_open_streams() {
    let _turn = turn().await;
    let ground = Ground::new().await;
    let (here, there) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let mut admin = admin(&ground, &here, "acme").await;
    admin.create_stream("orders", 1).await;
    let token = ground.signed_in(&here, "acme", "ada@example.com", Role::Editor).await;
    let id = id_of(&mut admin, "ada@example.com").await;
    let mut ada = Clients::new(&there, &token).await;
    ada.publish("orders", 0, &["x"]).await;
    let follow = v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    let mut reading = ada.log.read(follow).await.expect("a stream").into_inner();
    let changed = Instant::now();
    admin.users.update_user(change(&id, "role", v1::Role::Viewer, false)).await.expect("changed");
    within("the stream's end", async { while reading.message().await.is_ok() {} }).await;
    // bound: 5 s
    assert!(changed.elapsed() < BOUND, "{:?}", changed.elapsed());
    let create = |number: usize| v1::CreateStreamRequest {
        stream: Some(v1::Stream { name: format!("s{number}"), partitions: 1, ..Default::default() }),
        ..Default::default()
    };
    let mut number = 0;
    // poll
    let refused = loop {
        number += 1;
        if let Err(status) = ada.streams.create_stream(create(number)).await {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::PermissionDenied);
    // bound: 5 s, and the call's own time
    assert!(changed.elapsed() < BOUND + Duration::from_secs(1), "{:?}", changed.elapsed());
    ada.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("a viewer may look");
    admin.users.update_user(change(&id, "disabled", v1::Role::Viewer, true)).await.expect("barred");
    let mut ada = Clients::new(&here, &token).await;
    let status = ada.streams.list_streams(v1::ListStreamsRequest::default()).await.expect_err("barred");
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = ada.auth.login(login_request("acme", "ada@example.com", PASSWORD)).await.expect_err("barred");
    assert_eq!(reason(&status), "LOGIN_FAILED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_password_and_sessions_and_its_invitation_is_the_only_one() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut admin = admin(&ground, &app, "acme").await;
    let token = ground.signed_in(&app, "acme", "ada@example.com", Role::Viewer).await;
    let id = id_of(&mut admin, "ada@example.com").await;
    let mut reset = async || {
        let request = v1::ResetUserRequest { id: id.clone(), ..Default::default() };
        let answer = admin.users.reset_user(request).await.expect("reset").into_inner();
        answer.invitation.expect("an invitation").token
    };
    let (first, second) = (reset().await, reset().await);
    let mut ada = Clients::new(&app, &token).await;
    let status = ada.streams.get_limits(v1::GetLimitsRequest {}).await.expect_err("ended");
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = ada.auth.login(login_request("acme", "ada@example.com", PASSWORD)).await.expect_err("no password");
    assert_eq!(reason(&status), "LOGIN_FAILED");
    let accept = |token: &str| v1::AcceptInvitationRequest { token: token.into(), password: PASSWORD.into() };
    let status = ada.auth.accept_invitation(accept(&first)).await.expect_err("replaced");
    assert_eq!(reason(&status), "INVITATION_INVALID");
    ada.auth.accept_invitation(accept(&second)).await.expect("accepted");
    login(&app, "acme", "ada@example.com").await;
}
