//! Who did what: every change and every refusal leaves an entry, nobody can take one away, and none holds a secret.

use super::dynamic::{code, methods};
use super::matrix::{Objects, table};
use crate::support::{Clients, Ground, PASSWORD, login, login_request, reason};
use eventflow_broker::domain::access::Role;
use eventflow_broker::identity::ApiKey;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, AuditResult};
use eventflow_testkit::within;
use std::collections::BTreeSet;
use tonic::Code;
use tonic::transport::Endpoint;

async fn admin(ground: &Ground, app: &App, organization: &str) -> Clients {
    let email = format!("admin@{organization}.example");
    Clients::new(app, &ground.signed_in(app, organization, &email, Role::Admin).await).await
}

async fn entries(clients: &mut Clients, request: v1::ListAuditEventsRequest) -> Vec<v1::AuditEvent> {
    let request = v1::ListAuditEventsRequest { page_size: 1_000, ..request };
    clients.audit.list_audit_events(request).await.expect("a page").into_inner().events
}

/// Entries of an action, as soon as there is one: what is refused is written within a second or so.
async fn some(clients: &mut Clients, action: &str, result: AuditResult) -> Vec<v1::AuditEvent> {
    let request = || v1::ListAuditEventsRequest { action: action.into(), result: result.into(), ..Default::default() };
    let look = async {
        // poll
        loop {
            let found = entries(clients, request()).await;
            if !found.is_empty() {
                return found;
            }
        }
    };
    within("an entry", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_changes_something_leaves_an_entry() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut objects = Objects::new(&ground, &app).await;
    let token = ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await;
    let mut ada = Clients::new(&app, &token).await;
    let address = format!("http://{}", app.grpc_address());
    let channel = Endpoint::from_shared(address).expect("a url").connect().await.expect("a connection");
    // What changes something takes a request id.
    let changes: Vec<_> =
        methods().into_iter().filter(|(_, method)| method.input().get_field_by_name("request_id").is_some()).collect();
    assert!(changes.len() >= 21, "{}", changes.len());
    let (_, rows) = table();
    let before = entries(&mut ada, v1::ListAuditEventsRequest::default()).await.len();
    for (rpc, method) in &changes {
        let row = rows.iter().find(|row| row.rpc == rpc).expect("a row");
        let request = objects.fill(row.request).await;
        assert_eq!(code(&channel, method, Some(&token), &request).await, Code::Ok, "{rpc}");
        let action = v1::ListAuditEventsRequest {
            action: method.name().to_owned(),
            actor: "ada@example.com".into(),
            ..Default::default()
        };
        let found = entries(&mut ada, action).await;
        assert_eq!(found.len(), 1, "{rpc}");
        let entry = &found[0];
        assert_eq!((entry.result(), entry.address.as_str(), entry.times), (AuditResult::Done, "127.0.0.1", 1), "{rpc}");
        assert!(entry.actor.starts_with("user:") && entry.object.contains(':'), "{entry:?}");
        assert!(!entry.request_id.is_empty() && entry.reason.is_empty(), "{entry:?}");
    }
    assert!(entries(&mut ada, v1::ListAuditEventsRequest::default()).await.len() > before + changes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_twice_or_fails_is_not_done_twice() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut ada = admin(&ground, &app, "acme").await;
    let stream = v1::Stream { name: "orders".into(), partitions: 1, ..Default::default() };
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = v1::CreateStreamRequest { stream: Some(stream), request_id };
    for _ in 0..3 {
        ada.streams.create_stream(request.clone()).await.expect("created");
    }
    let again = v1::CreateStreamRequest { request_id: String::new(), ..request };
    let status = ada.streams.create_stream(again).await.expect_err("it exists");
    assert_eq!(reason(&status), "STREAM_EXISTS");
    let found = some(&mut ada, "CreateStream", AuditResult::Done).await;
    assert_eq!(found.iter().map(|entry| entry.object.as_str()).collect::<Vec<_>>(), ["stream:orders"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_failed_sign_ins_are_counted_and_unknown_addresses_are_not_kept() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut ada = admin(&ground, &app, "acme").await;
    let mut bob = Clients::new(&app, &ground.signed_in(&app, "acme", "bob@example.com", Role::Viewer).await).await;
    for _ in 0..5 {
        let request = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
        bob.streams.delete_stream(request).await.expect_err("refused");
        bob.auth.login(login_request("acme", "bob@example.com", "wrong")).await.expect_err("refused");
        bob.auth.login(login_request("acme", "hunter2@example.com", "wrong")).await.expect_err("refused");
        bob.auth.login(login_request("nowhere", "bob@example.com", "wrong")).await.expect_err("refused");
    }
    let ended = ground.key("acme").await;
    let key = ApiKey::parse(&ended).expect("a key");
    let end = format!("update eventflow.api_key set revoked_at = clock_timestamp() where key_id = '{}'", key.id());
    ground.database.connect().await.batch_execute(&end).await.expect("revoked");
    let mut mallory = Clients::new(&app, &ended).await;
    mallory.streams.list_streams(v1::ListStreamsRequest::default()).await.expect_err("refused");
    let refused = some(&mut ada, "DeleteStream", AuditResult::Refused).await;
    assert!(refused.iter().all(|one| one.actor_email == "bob@example.com" && one.reason == "PERMISSION_DENIED"));
    let failed = some(&mut ada, "ListStreams", AuditResult::Failed).await;
    assert_eq!(failed[0].actor, format!("key:{}", key.id()));
    let all = async {
        // poll
        loop {
            let failed = some(&mut ada, "Login", AuditResult::Failed).await;
            let of = |known: bool| {
                failed.iter().filter(|one| (one.actor_email == "bob@example.com") == known).map(|one| one.times).sum()
            };
            let (known, unknown): (i32, i32) = (of(true), of(false));
            if known == 5 && unknown == 5 {
                return failed;
            }
            assert!(known <= 5 && unknown <= 5, "{failed:?}");
        }
    };
    let failed = within("all failed sign-ins", all).await;
    assert!(failed.iter().all(|one| one.reason == "LOGIN_FAILED" && one.address == "127.0.0.1"), "{failed:?}");
    let everything = dump(&ground).await;
    assert!(!everything.contains("hunter2") && !everything.contains("nowhere"), "{everything}");
}

async fn dump(ground: &Ground) -> String {
    let client = ground.database.connect().await;
    let rows = client.query("select a::text from eventflow.audit_event a", &[]).await.expect("entries");
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_entry_holds_a_secret() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let invitation = ground.invitation("acme", "ada@example.com", Role::Admin).await;
    let mut nobody = Clients::new(&app, "nobody").await;
    let accept = v1::AcceptInvitationRequest { token: invitation.clone(), password: PASSWORD.into() };
    nobody.auth.accept_invitation(accept).await.expect("accepted");
    let tokens = login(&app, "acme", "ada@example.com").await;
    let mut ada = Clients::new(&app, &tokens.access_token).await;
    let refresh = v1::RefreshSessionRequest { refresh_token: tokens.refresh_token.clone() };
    let next = ada.auth.refresh_session(refresh.clone()).await.expect("refreshed").into_inner().tokens.expect("tokens");
    let password = v1::ChangePasswordRequest { old_password: PASSWORD.into(), new_password: "gxzpqrtv-anew".into() };
    ada.auth.change_password(password).await.expect("changed");
    let user = v1::User { email: "bob@example.com".into(), role: v1::Role::Viewer.into(), ..Default::default() };
    let invite = v1::InviteUserRequest { user: Some(user), ..Default::default() };
    let bob = ada.users.invite_user(invite).await.expect("invited").into_inner().invitation.expect("a token").token;
    let key = ground.key("acme").await;
    let grants = vec![v1::Grant { scope: v1::Scope::Publish.into(), streams: Vec::new() }];
    let create =
        v1::CreateApiKeyRequest { api_key: Some(v1::ApiKey { grants, ..Default::default() }), ..Default::default() };
    let made = ada.keys.create_api_key(create).await.expect("a key").into_inner().secret;
    // A stolen token ends the session: this is the last that Ada does with it.
    ada.auth.refresh_session(refresh).await.expect_err("it came twice");
    let everything = dump(&ground).await;
    for action in
        ["AcceptInvitation", "Login", "RefreshSession", "ChangePassword", "InviteUser", "CreateApiKey", "operator"]
    {
        assert!(everything.contains(action), "no {action} in {everything}");
    }
    let secret_of = |key: &str| key.rsplit('_').next().expect("a secret").to_owned();
    let (key, made) = (secret_of(&key), secret_of(&made));
    for secret in [
        invitation.as_str(),
        PASSWORD,
        "gxzpqrtv",
        &tokens.access_token,
        &tokens.refresh_token,
        &next.refresh_token,
        &bob,
        &key,
        &made,
    ] {
        assert!(secret.len() >= 8 && !everything.contains(secret), "`{secret}` is in {everything}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_can_add_and_read_but_neither_change_nor_remove_nor_backdate() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    admin(&ground, &app, "acme").await;
    ground.key("other").await;
    let client = ground.database.connect().await;
    let organization =
        |name: &str| format!("(select organization_id from eventflow.organization where name = '{name}')");
    let own: i64 = client.query_one(&format!("select {}", organization("acme")), &[]).await.expect("an id").get(0);
    let foreign: i64 = client.query_one(&format!("select {}", organization("other")), &[]).await.expect("an id").get(0);
    let role = format!("set role eventflow_broker; set eventflow.organization_id = '{own}'");
    client.batch_execute(&role).await.expect("the role");
    let seen = client.query("select distinct organization_id from eventflow.audit_event", &[]).await.expect("entries");
    assert_eq!(seen.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [own]);
    let columns = "organization_id, actor, action, result";
    client
        .batch_execute(&format!("insert into eventflow.audit_event ({columns}) values ({own}, 'a', 'b', 'done')"))
        .await
        .expect("it may add");
    for refused in [
        "update eventflow.audit_event set actor = 'nobody'".to_owned(),
        "delete from eventflow.audit_event".to_owned(),
        "truncate eventflow.audit_event".to_owned(),
        format!(
            "insert into eventflow.audit_event ({columns}, occurred_at) values ({own}, 'a', 'b', 'done', '2000-01-01')"
        ),
        format!("insert into eventflow.audit_event ({columns}) values ({foreign}, 'a', 'b', 'done')"),
    ] {
        let error = client.batch_execute(&refused).await.expect_err(&refused);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_by_the_thousand_fills_a_bounded_number_of_rows() {
    let ground = Ground::new().await;
    ground.key("acme").await;
    let client = ground.database.connect().await;
    let refuse = |numbers: &str| {
        format!(
            "select eventflow.audit_refusals_v1(array_agg(null::bigint), array_agg('acme'::text), array_agg(''::text), \
             array_agg('key:' || n), array_agg('Publish'::text), array_agg('stream:' || n), array_agg('refused'::text), \
             array_agg('PERMISSION_DENIED'::text), array_agg('127.0.0.1'::text), array_agg('r'::text), array_agg(1)) \
             from generate_series({numbers}) n"
        )
    };
    let hour = async || {
        let sql = "select extract(epoch from date_trunc('hour', clock_timestamp()))::bigint";
        client.query_one(sql, &[]).await.expect("an hour").get::<_, i64>(0)
    };
    // The bound is that of an hour of the clock, and the test is to be within one.
    loop {
        client.batch_execute("delete from eventflow.audit_event where result = 'refused'").await.expect("empty");
        let (before, mut dropped) = (hour().await, Vec::new());
        for numbers in ["1, 100", "101, 400", "401, 900"] {
            dropped.push(client.query_one(&refuse(numbers), &[]).await.expect("written").get::<_, i64>(0));
        }
        if hour().await == before {
            assert_eq!(dropped, [0, 151, 500]);
            break;
        }
    }
    let count = "select count(*), count(*) filter (where action = 'TooManyToList') from eventflow.audit_event \
                 where result = 'refused'";
    let row = client.query_one(count, &[]).await.expect("counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (250, 1));
    // Failed sign-ins have a bound of their own, and so has another organization.
    let failed = refuse("1, 10").replace("'refused'", "'failed'");
    assert_eq!(client.query_one(&failed, &[]).await.expect("written").get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_page_by_page_and_only_to_admins_of_the_organization() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let (mut ada, mut eve) = (admin(&ground, &app, "acme").await, admin(&ground, &app, "other").await);
    for number in 0..5 {
        ada.create_stream(&format!("s{number}"), 1).await;
    }
    let page = |page_token: String| v1::ListAuditEventsRequest {
        action: "CreateStream".into(),
        page_size: 2,
        page_token,
        ..Default::default()
    };
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let found = ada.audit.list_audit_events(page(token.clone())).await.expect("a page").into_inner();
        seen.extend(found.events.into_iter().map(|entry| entry.object));
        if found.next_page_token.is_empty() {
            break;
        }
        let status = eve.audit.list_audit_events(page(found.next_page_token.clone())).await.expect_err("not theirs");
        assert_eq!(reason(&status), "INVALID_PAGE_TOKEN");
        token = found.next_page_token;
    }
    assert_eq!(seen, ["stream:s4", "stream:s3", "stream:s2", "stream:s1", "stream:s0"]);
    let theirs: BTreeSet<String> =
        entries(&mut eve, v1::ListAuditEventsRequest::default()).await.into_iter().map(|one| one.action).collect();
    assert!(!theirs.contains("CreateStream"), "{theirs:?}");
    let one = entries(&mut ada, v1::ListAuditEventsRequest { object: "stream:s3".into(), ..Default::default() }).await;
    let time = one[0].time.expect("a time");
    let before =
        v1::ListAuditEventsRequest { end_time: Some(time), action: "CreateStream".into(), ..Default::default() };
    assert_eq!(entries(&mut ada, before).await.len(), 3);
    let from =
        v1::ListAuditEventsRequest { start_time: Some(time), action: "CreateStream".into(), ..Default::default() };
    assert_eq!(entries(&mut ada, from).await.len(), 2);
    let bad = v1::ListAuditEventsRequest { actor: "x".repeat(300), ..Default::default() };
    assert_eq!(reason(&ada.audit.list_audit_events(bad).await.expect_err("too long")), "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_forgotten_after_their_retention_and_never_within_a_week() {
    let ground = Ground::new().await;
    ground.key("acme").await;
    let client = ground.database.connect().await;
    let age = "insert into eventflow.audit_event (organization_id, actor, action, result, occurred_at) \
               select organization_id, 'a', 'b', 'done', clock_timestamp() - n * interval '1 d' \
               from eventflow.organization, unnest(array[1, 6, 8, 89, 91]) n";
    client.batch_execute(age).await.expect("aged");
    let prune = async |days: i64| {
        let sql = "select eventflow.prune_audit_v1($1, 1000)";
        client.query_one(sql, &[&(days * 86_400)]).await.expect("pruned").get::<_, i64>(0)
    };
    assert_eq!((prune(90).await, prune(90).await, prune(0).await), (1, 0, 2));
}
