use super::*;
use crate::domain::api_key::Environment;
use http::HeaderValue;

fn stored(key: &ApiKey) -> StoredKey {
    StoredKey {
        organization_id: 7,
        secret_sha256: key.secret_sha256().to_vec(),
        expired: false,
        revoked: false,
        scopes: vec!["read".to_owned()],
    }
}

fn authenticator(keys: &[(&ApiKey, StoredKey)]) -> Authenticator {
    let listed = keys.iter().map(|(key, stored)| (key.id(), stored.clone())).collect();
    Authenticator::new(KeySource::Listed(listed))
}

fn headers(values: &[&str]) -> HeaderMap {
    let value = |text: &&str| (AUTHORIZATION, HeaderValue::from_bytes(text.as_bytes()).expect("header"));
    let mut headers = HeaderMap::new();
    for (name, value) in values.iter().map(value) {
        headers.append(name, value);
    }
    headers
}

fn origin() -> Origin {
    Origin { request_id: "request-1".into(), method: "test".into(), address: "127.0.0.1".into() }
}

async fn call(authenticator: &Authenticator, values: &[&str]) -> Result<Caller> {
    authenticator.authenticate(&headers(values), &origin()).await
}

#[tokio::test]
async fn a_good_key_names_its_organization() {
    let key = ApiKey::generate(Environment::Live);
    let authenticator = authenticator(&[(&key, stored(&key))]);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let caller = call(&authenticator, &[&format!("{scheme} {}", key.reveal())]).await.expect("known");
        assert_eq!(caller.organization(), OrganizationId(7));
        assert_eq!(caller.who(), Who::Key(key.id()));
        assert_eq!(&*caller.origin().request_id, "request-1");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
    let [good, expired, revoked, unknown, later] = std::array::from_fn(|_| ApiKey::generate(Environment::Live));
    let authenticator = authenticator(&[
        (&good, stored(&good)),
        (&expired, StoredKey { expired: true, ..stored(&expired) }),
        (&revoked, StoredKey { revoked: true, ..stored(&revoked) }),
        // Stored under the same id with another secret.
        (&unknown, stored(&good)),
        // Of a later version.
        (&later, StoredKey { scopes: vec!["telepathy".to_owned()], ..stored(&later) }),
    ]);
    let stranger = ApiKey::generate(Environment::Live);
    let mistyped = format!("{}x", &good.reveal()[..58]);
    let keys = [expired.reveal(), later.reveal(), revoked.reveal(), unknown.reveal(), stranger.reveal(), mistyped];
    for key in keys {
        // Twice: from the source, and from the cache.
        for _ in 0..2 {
            let error = call(&authenticator, &[&format!("Bearer {key}")]).await.expect_err("refused");
            assert_eq!(error.reason(), Reason::Unauthenticated);
            assert_eq!(error.message(), refused().message());
        }
    }
}

#[tokio::test]
async fn a_malformed_header_is_told_what_is_expected_and_never_repeats_the_key() {
    let key = ApiKey::generate(Environment::Live).reveal();
    let bearer = format!("Bearer {key}");
    let basic = format!("Basic {key}");
    let cases: [&[&str]; 6] = [&[], &[&bearer, &bearer], &["Bearer"], &[""], &[&basic], &["Bearer \u{e4}"]];
    for values in cases {
        let error = call(&authenticator(&[]), values).await.expect_err("refused");
        assert_eq!(error.reason(), Reason::Unauthenticated);
        assert!(error.message().contains("expected `authorization: Bearer ef_live_…`"), "{error:?}");
        assert!(!error.message().contains(&key));
    }
}
