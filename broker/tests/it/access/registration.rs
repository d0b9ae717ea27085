//! People who let themselves in.

use crate::support::{Clients, Ground, PASSWORD, reason};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const OPEN: [(&str, &str); 1] = [("accounts.registration", "open")];

fn request(organization: &str) -> v1::RegisterRequest {
    v1::RegisterRequest {
        organization: organization.into(),
        display_name: "Acme, Inc.".into(),
        email: " Ada@Example.com".into(),
        name: "Ada".into(),
        password: PASSWORD.into(),
        client: "test".into(),
        session_cookie: false,
    }
}

async fn register(app: &App, request: v1::RegisterRequest) -> Result<v1::RegisterResponse, Status> {
    Clients::new(app, "nobody").await.auth.register(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_is_the_admin_of_an_organization_of_their_own_and_of_nothing_else() {
    let ground = Ground::new().await;
    let app = ground.broker(&OPEN).await;
    let mut other = Clients::new(&app, &ground.key("other").await).await;
    other.create_stream("orders", 1).await;
    let answer = register(&app, request("acme")).await.expect("registered");
    let user = answer.user.expect("a user");
    assert_eq!((user.email.as_str(), user.role(), user.invited), ("ada@example.com", v1::Role::Admin, false));
    let mut ada = Clients::new(&app, &answer.tokens.expect("tokens").access_token).await;
    let own = ada.organizations.get_organization(v1::GetOrganizationRequest {}).await.expect("their own").into_inner();
    let own = own.organization.expect("an organization");
    assert_eq!((own.name.as_str(), own.display_name.as_str()), ("acme", "Acme, Inc."));
    let streams = ada.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("a page").into_inner();
    assert!(streams.streams.is_empty(), "{streams:?}");
    ada.create_stream("orders", 1).await;
    crate::support::login(&app, "acme", "ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_where_it_is_closed_or_twice_under_one_name() {
    let ground = Ground::new().await;
    let (closed, open) = (ground.broker(&[]).await, ground.broker(&OPEN).await);
    let status = register(&closed, request("acme")).await.expect_err("closed");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "REGISTRATION_CLOSED"));
    register(&open, request("acme")).await.expect("registered");
    let second = v1::RegisterRequest { email: "eve@example.com".into(), ..request("acme") };
    let status = register(&open, second).await.expect_err("taken");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "ORGANIZATION_EXISTS"));
    let users = ground.database.connect().await.query("select email from eventflow.user_account", &[]).await;
    assert_eq!(users.expect("users").len(), 1, "somebody got into an organization that was not theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_register_one_name_at_the_same_time_one_gets_it() {
    let ground = Ground::new().await;
    let (here, there) = (ground.broker(&OPEN).await, ground.broker(&OPEN).await);
    let eve = v1::RegisterRequest { email: "eve@example.com".into(), ..request("acme") };
    let (first, second) = tokio::join!(register(&here, request("acme")), register(&there, eve));
    assert_eq!([&first, &second].iter().filter(|answer| answer.is_ok()).count(), 1, "{first:?} {second:?}");
    let users = ground.database.connect().await.query("select email from eventflow.user_account", &[]).await;
    assert_eq!(users.expect("users").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_registration_is_named_and_makes_nothing() {
    let ground = Ground::new().await;
    let app = ground.broker(&OPEN).await;
    let wrong = [
        ("organization", v1::RegisterRequest { organization: "Acme".into(), ..request("acme") }),
        ("display_name", v1::RegisterRequest { display_name: "x".repeat(129), ..request("acme") }),
        ("email", v1::RegisterRequest { email: "ada".into(), ..request("acme") }),
        ("name", v1::RegisterRequest { name: "a\nb".into(), ..request("acme") }),
        ("password", v1::RegisterRequest { password: "password1".into(), ..request("acme") }),
        ("password", v1::RegisterRequest { password: "short".into(), ..request("acme") }),
    ];
    for (field, request) in wrong {
        let status = register(&app, request).await.expect_err(field);
        let details = status.get_details_bad_request().expect("fields");
        assert_eq!(details.field_violations[0].field, field);
    }
    let made = ground.database.connect().await.query("select name from eventflow.organization", &[]).await;
    assert!(made.expect("organizations").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_makes_ten_organizations_and_then_has_to_wait() {
    let ground = Ground::new().await;
    let app = ground.broker(&OPEN).await;
    for number in 0..10 {
        register(&app, request(&format!("acme-{number}"))).await.expect("registered");
    }
    let status = register(&app, request("acme-10")).await.expect_err("too many");
    assert_eq!(reason(&status), "TOO_MANY_ATTEMPTS");
    assert!(status.get_details_retry_info().is_some());
    // Whoever has one can still sign in.
    crate::support::login(&app, "acme-0", "ada@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_renames_the_own_organization_and_no_other() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut ada = Clients::new(&app, &ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await).await;
    let mut eve = Clients::new(&app, &ground.signed_in(&app, "other", "eve@example.com", Role::Admin).await).await;
    let rename = |name: &str| v1::UpdateOrganizationRequest {
        organization: Some(v1::Organization { name: "other".into(), display_name: name.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        ..Default::default()
    };
    let now = ada.organizations.update_organization(rename("Acme")).await.expect("renamed").into_inner();
    let now = now.organization.expect("an organization");
    assert_eq!((now.name.as_str(), now.display_name.as_str()), ("acme", "Acme"));
    let theirs = eve.organizations.get_organization(v1::GetOrganizationRequest {}).await.expect("theirs").into_inner();
    assert_eq!(theirs.organization.expect("an organization").display_name, "");
    for wrong in [v1::UpdateOrganizationRequest { update_mask: None, ..rename("x") }, rename(&"x".repeat(129))] {
        let status = ada.organizations.update_organization(wrong).await.expect_err("refused");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
    }
}
