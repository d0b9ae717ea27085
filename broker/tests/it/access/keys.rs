//! API keys over the API.

use crate::support::{Clients, Ground, reason};
use eventflow_broker::identity::ApiKey;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use eventflow_testkit::within;
use tonic::{Code, Status};
use uuid::Uuid;

async fn start() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let clients = Clients::new(&app, &ground.key("acme").await).await;
    (ground, app, clients)
}

fn grant(scope: v1::Scope, streams: &[&str]) -> v1::Grant {
    v1::Grant { scope: scope.into(), streams: streams.iter().map(|text| (*text).to_owned()).collect() }
}

fn create(grants: Vec<v1::Grant>) -> v1::CreateApiKeyRequest {
    let api_key = v1::ApiKey { description: "the till".into(), grants, ..Default::default() };
    v1::CreateApiKeyRequest { api_key: Some(api_key), ..Default::default() }
}

async fn made(clients: &mut Clients, request: v1::CreateApiKeyRequest) -> (v1::ApiKey, String) {
    let made = clients.keys.create_api_key(request).await.expect("a key").into_inner();
    (made.api_key.expect("a key"), made.secret)
}

async fn list(clients: &mut Clients, include_ended: bool) -> Vec<v1::ApiKey> {
    let request = v1::ListApiKeysRequest { include_ended, ..Default::default() };
    clients.keys.list_api_keys(request).await.expect("a page").into_inner().api_keys
}

fn rotate(id: &str, seconds: i64) -> v1::RotateApiKeyRequest {
    let overlap = Some(prost_types::Duration { seconds, nanos: 0 });
    v1::RotateApiKeyRequest { id: id.to_owned(), overlap, ..Default::default() }
}

fn revoke(id: &str) -> v1::RevokeApiKeyRequest {
    v1::RevokeApiKeyRequest { id: id.to_owned(), ..Default::default() }
}

async fn works(app: &App, key: &str) -> Result<(), Status> {
    Clients::new(app, key).await.streams.get_limits(v1::GetLimitsRequest {}).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_listed_without_its_secret() {
    let (_ground, app, mut clients) = start().await;
    let grants = vec![grant(v1::Scope::Publish, &["orders.*"]), grant(v1::Scope::Read, &[])];
    let (key, secret) = made(&mut clients, create(grants.clone())).await;
    assert!(secret.starts_with(&format!("ef_live_{}_", key.id)), "{key:?}");
    assert_eq!((key.masked.as_str(), &key.grants), (format!("ef_live_{}_…", key.id).as_str(), &grants));
    assert!(key.creator.starts_with("key:") && key.last_use_time.is_none(), "{key:?}");
    works(&app, &secret).await.expect("it works");
    let listed = list(&mut clients, false).await;
    assert!(!format!("{listed:?}").contains(&secret[21..53]), "the secret shows");
    let listed: Vec<_> = listed.into_iter().filter(|listed| listed.id == key.id).collect();
    assert_eq!(listed.len(), 1);
    let used = async {
        // poll: uses are written every ten seconds.
        loop {
            let request = v1::GetApiKeyRequest { id: key.id.clone() };
            let now = clients.keys.get_api_key(request).await.expect("the key").into_inner().api_key;
            if now.expect("the key").last_use_time.is_some() {
                break;
            }
        }
    };
    within("the last use", used).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_key_more_than_they_have() {
    let (ground, app, mut all) = start().await;
    let mut manager = Clients::new(&app, &ground.key_for("acme", &["manage", "read:a"]).await).await;
    for grants in [
        vec![grant(v1::Scope::Manage, &[]), grant(v1::Scope::Publish, &["x"])],
        vec![grant(v1::Scope::Read, &[])],
        vec![grant(v1::Scope::Read, &["a", "b"])],
    ] {
        let status = manager.keys.create_api_key(create(grants)).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
    }
    made(&mut manager, create(vec![grant(v1::Scope::Read, &["a"]), grant(v1::Scope::Manage, &["x"])])).await;
    // Rotating shows a secret that opens what the old one does.
    let (strong, secret) = made(&mut all, create(vec![grant(v1::Scope::Publish, &[])])).await;
    let status = manager.keys.rotate_api_key(rotate(&strong.id, 0)).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    works(&app, &secret).await.expect("the refused rotation changed nothing");
    manager.keys.revoke_api_key(revoke(&strong.id)).await.expect("taking away gives nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_goes_on_for_the_overlap_and_no_longer_than_it_would_have() {
    let (_ground, app, mut clients) = start().await;
    let grants = vec![grant(v1::Scope::Consume, &["orders.*"])];
    let (old, old_secret) = made(&mut clients, create(grants.clone())).await;
    let answer = clients.keys.rotate_api_key(rotate(&old.id, 3_600)).await.expect("rotated").into_inner();
    let new = answer.api_key.expect("a key");
    assert_eq!((&new.grants, new.description.as_str()), (&grants, "the till"));
    for secret in [&old_secret, &answer.secret] {
        works(&app, secret).await.expect("both work");
    }
    let request = v1::GetApiKeyRequest { id: old.id.clone() };
    let now = clients.keys.get_api_key(request).await.expect("the key").into_inner().api_key.expect("the key");
    assert_eq!((now.successor.as_str(), now.expire_time), (new.id.as_str(), answer.old_expire_time));
    // Once more, with more time than it has left.
    let again = clients.keys.rotate_api_key(rotate(&old.id, 7_200)).await.expect("rotated").into_inner();
    assert_eq!(again.old_expire_time, answer.old_expire_time);
    clients.keys.rotate_api_key(rotate(&new.id, 0)).await.expect("rotated");
    let status = clients.keys.rotate_api_key(rotate(&new.id, 0)).await.expect_err("it has ended");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "API_KEY_ENDED"));
    let status = clients.keys.rotate_api_key(rotate(&old.id, 31 * 24 * 3_600)).await.expect_err("too long");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_key_and_its_secret_is_nowhere() {
    let (ground, _app, mut clients) = start().await;
    let request_id = Uuid::new_v4().to_string();
    let request = v1::CreateApiKeyRequest { request_id, ..create(vec![grant(v1::Scope::Read, &[])]) };
    let (first, secret) = made(&mut clients, request.clone()).await;
    let (second, none) = made(&mut clients, request).await;
    assert_eq!((first, none.as_str()), (second, ""));
    let key = ApiKey::parse(&secret).expect("a key");
    let text = &secret[21..53];
    let client = ground.database.connect().await;
    for table in ["admin_request", "api_key"] {
        let rows = client.query(&format!("select t::text from eventflow.{table} t"), &[]).await.expect("rows");
        let text_hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!rows.is_empty());
        for row in rows {
            let row: String = row.get(0);
            assert!(!row.contains(text) && !row.contains(&text_hex), "{table} holds the secret of {}", key.id());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_is_as_absent_as_one_that_never_was() {
    let (ground, app, mut ours) = start().await;
    let (key, secret) = made(&mut ours, create(vec![grant(v1::Scope::Manage, &[])])).await;
    let mut theirs = Clients::new(&app, &ground.key("other").await).await;
    let get = |id: &str| v1::GetApiKeyRequest { id: id.to_owned() };
    let absent = ours.keys.get_api_key(get("000000000000")).await.expect_err("absent");
    let told = |status: Status, id: &str| (status.code(), reason(&status), status.message().replace(id, "…"));
    let absent = told(absent, "000000000000");
    assert_eq!((absent.0, absent.1.as_str()), (Code::NotFound, "API_KEY_NOT_FOUND"));
    for status in [
        theirs.keys.get_api_key(get(&key.id)).await.expect_err("foreign"),
        theirs.keys.rotate_api_key(rotate(&key.id, 0)).await.expect_err("foreign"),
        theirs.keys.revoke_api_key(revoke(&key.id)).await.expect_err("foreign"),
    ] {
        assert_eq!(told(status, &key.id), absent);
    }
    works(&app, &secret).await.expect("nobody has touched it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_here_is_refused_here_at_once_and_listed_on_request_only() {
    let (_ground, app, mut clients) = start().await;
    let (key, secret) = made(&mut clients, create(vec![grant(v1::Scope::Read, &[])])).await;
    works(&app, &secret).await.expect("it works");
    let request = v1::RevokeApiKeyRequest { request_id: Uuid::new_v4().to_string(), ..revoke(&key.id) };
    let first = clients.keys.revoke_api_key(request.clone()).await.expect("revoked").into_inner();
    let revoked = first.api_key.clone().expect("the key");
    assert!(revoked.revoke_time.is_some(), "{revoked:?}");
    assert_eq!(works(&app, &secret).await.expect_err("refused").code(), Code::Unauthenticated);
    assert_eq!(clients.keys.revoke_api_key(request).await.expect("the same").into_inner(), first);
    let again = clients.keys.revoke_api_key(revoke(&key.id)).await.expect("nothing to do").into_inner();
    assert_eq!(again, first);
    assert!(list(&mut clients, false).await.iter().all(|listed| listed.id != key.id));
    assert!(list(&mut clients, true).await.contains(&revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_in_the_future_and_keys_are_listed_in_pages() {
    let (_ground, _app, mut clients) = start().await;
    let mut request = create(vec![grant(v1::Scope::Read, &[])]);
    let past = prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 };
    request.api_key.as_mut().expect("a key").expire_time = Some(past);
    let status = clients.keys.create_api_key(request).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    let mut ids = vec![list(&mut clients, false).await.remove(0).id];
    for _ in 0..4 {
        ids.push(made(&mut clients, create(vec![grant(v1::Scope::Read, &[])])).await.0.id);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListApiKeysRequest { page_size: 2, page_token, include_ended: false };
        let page = clients.keys.list_api_keys(request).await.expect("a page").into_inner();
        assert!(page.api_keys.len() <= 2);
        seen.extend(page.api_keys.into_iter().map(|key| key.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let elsewhere = v1::ListApiKeysRequest { page_token: page_token.clone(), include_ended: true, page_size: 2 };
        let status = clients.keys.list_api_keys(elsewhere).await.expect_err("another list");
        assert_eq!(reason(&status), "INVALID_PAGE_TOKEN");
    }
    assert_eq!(seen, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_so_many_keys_and_no_more() {
    let (ground, _app, mut clients) = start().await;
    let crowd = "insert into eventflow.api_key (key_id, organization_id, secret_sha256)
        select lpad(n::text, 12, '0'), organization_id, sha256(n::text::bytea)
        from eventflow.organization, generate_series(1, 999) n";
    ground.database.connect().await.execute(crowd, &[]).await.expect("a crowd");
    let status = clients.keys.create_api_key(create(vec![grant(v1::Scope::Read, &[])])).await.expect_err("full");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_API_KEYS"));
    clients.keys.revoke_api_key(revoke("000000000001")).await.expect("revoked");
    made(&mut clients, create(vec![grant(v1::Scope::Read, &[])])).await;
}
