//! Access tokens that somebody has made up, and keys that sign them in turn.

use crate::support::{Clients, Ground, login};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use eventflow_broker::domain::access::Role;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use eventflow_testkit::within;
use hmac::{Hmac, Mac};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status};

async fn works(app: &App, token: &str) -> Result<(), Status> {
    Clients::new(app, token).await.streams.get_limits(v1::GetLimitsRequest {}).await.map(drop)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a part");
    serde_json::from_slice(&B64.decode(part).expect("base64")).expect("json")
}

fn signing_input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()))
}

fn signed(header: &Value, claims: &Value, key: &Ed25519KeyPair) -> String {
    let input = signing_input(header, claims);
    let signature = B64.encode(key.sign(input.as_bytes()).as_ref());
    format!("{input}.{signature}")
}

/// The broker's own key, which nobody else has.
async fn stolen_key(ground: &Ground) -> Ed25519KeyPair {
    let client = ground.database.connect().await;
    let row = client.query_one("select private_pkcs8 from eventflow.signing_key", &[]).await.expect("a key");
    Ed25519KeyPair::from_pkcs8(row.get(0)).expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_made_up_is_refused_whatever_its_header_says() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Admin).await;
    let token = login(&app, "acme", "ada@example.com").await.access_token;
    works(&app, &token).await.expect("an honest token");
    let (header, claims) = (part(&token, 0), part(&token, 1));
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let thief = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
    let public = B64.encode(thief.public_key().as_ref());
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": public});
    let mut forged: Vec<String> = [
        header.clone(),
        with("kid", json!("unknown")),
        with("kid", json!("../../etc/passwd")),
        with("kid", json!("' or 1=1 --")),
        with("kid", Value::Null),
        with("jwk", jwk),
        with("jku", json!("https://thief.example/jwks.json")),
        with("x5u", json!("https://thief.example/cert.pem")),
        with("alg", json!("ES256")),
    ]
    .iter()
    .map(|header| signed(header, &claims, &thief))
    .collect();
    // No signature, and the public key as the secret of another algorithm.
    for none in ["none", "None", "NONE", "nOnE"] {
        forged.push(format!("{}.", signing_input(&with("alg", json!(none)), &claims)));
    }
    let ours = stolen_key(&ground).await;
    let input = signing_input(&with("alg", json!("HS256")), &claims);
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(ours.public_key().as_ref()).expect("a key");
    mac.update(input.as_bytes());
    forged.push(format!("{input}.{}", B64.encode(mac.finalize().into_bytes())));
    // An honest signature under other claims, and parts that are not there.
    let signature = token.split('.').nth(2).expect("a signature");
    let mut other = claims.clone();
    other["exp"] = json!(i64::MAX);
    forged.push(format!("{}.{signature}", signing_input(&header, &other)));
    forged.push(format!("{}.", signing_input(&header, &claims)));
    forged.push("..".to_owned());
    forged.push(format!("{}.{}.{}", "a".repeat(5_000), "b".repeat(5_000), "c".repeat(5_000)));
    for token in forged {
        let status = works(&app, &token).await.expect_err("forged");
        assert_eq!(status.code(), Code::Unauthenticated, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_an_honest_signature_must_say_what_ours_say() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    ground.user(&app, "acme", "ada@example.com", Role::Admin).await;
    let token = login(&app, "acme", "ada@example.com").await.access_token;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    let key = stolen_key(&ground).await;
    works(&app, &signed(&header, &claims, &key)).await.expect("the key is the right one");
    let now = claims["iat"].as_i64().expect("a time");
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let mut wrong = vec![
        with("exp", json!(now - 60)),
        with("exp", json!("9999999999")),
        with("exp", json!(9_999_999_999.5)),
        with("exp", json!(-1)),
        with("exp", json!(now + 10_000)),
        with("nbf", json!(now + 60)),
        with("iat", json!(now + 60)),
        with("aud", json!("another")),
        with("aud", json!(["eventflow-api", "another"])),
        with("iss", json!("another")),
        with("sub", json!("not a user")),
        with("sub", json!(uuid::Uuid::new_v4())),
        with("sid", json!(uuid::Uuid::new_v4())),
        with("role", json!("admin")),
    ];
    for missing in ["exp", "nbf", "iat", "aud", "iss", "sub", "sid"] {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("claims").remove(missing);
        wrong.push(claims);
    }
    for claims in wrong {
        let status = works(&app, &signed(&header, &claims, &key)).await.expect_err("wrong");
        assert_eq!(status.code(), Code::Unauthenticated, "{claims}");
    }
    let huge = signing_input(&header, &claims).replace(&B64.encode(claims.to_string()), &B64.encode("{\"exp\":1e400}"));
    let signature = B64.encode(key.sign(huge.as_bytes()).as_ref());
    assert_eq!(works(&app, &format!("{huge}.{signature}")).await.expect_err("wrong").code(), Code::Unauthenticated);
}

/// The ids of the keys that a broker shows, and the whole answer.
async fn shown(app: &App) -> (Vec<String>, Value) {
    let mut stream = tokio::net::TcpStream::connect(app.http_address()).await.expect("the port");
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let set: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("json");
    let ids = set["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("an id").to_owned());
    (ids.collect(), set)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_takes_over_when_every_broker_can_know_it_and_the_old_one_stays_for_a_while() {
    let ground = Ground::new().await;
    let first = ground.broker(&[]).await;
    ground.user(&first, "acme", "ada@example.com", Role::Viewer).await;
    let old = login(&first, "acme", "ada@example.com").await.access_token;
    let (ids, set) = shown(&first).await;
    assert_eq!(ids, [part(&old, 0)["kid"].as_str().expect("an id")]);
    assert!(!set.to_string().contains("\"d\""), "a private key shows: {set}");
    let sql = async |sql: &str| ground.database.connect().await.batch_execute(sql).await.expect("changed");
    sql("update eventflow.signing_key set created_at = created_at - interval '31 days'").await;
    // Brokers read keys at their start, and every half a minute.
    let second = ground.broker(&[]).await;
    let both = within("both keys", async {
        // poll
        loop {
            let (ids, _) = shown(&second).await;
            if ids.len() == 2 {
                return ids;
            }
        }
    });
    assert_eq!(both.await[1], ids[0], "newest first");
    let still = login(&second, "acme", "ada@example.com").await.access_token;
    assert_eq!(part(&still, 0)["kid"], ids[0].as_str(), "the new key may not be known everywhere yet");
    sql("update eventflow.signing_key set created_at = created_at - interval '2 min'").await;
    let third = ground.broker(&[]).await;
    let new = login(&third, "acme", "ada@example.com").await.access_token;
    assert_ne!(part(&new, 0)["kid"], ids[0].as_str());
    for app in [&first, &second, &third] {
        // The first broker learns of the key when it meets it.
        let learnt = async {
            // poll
            while works(app, &new).await.is_err() {}
        };
        within("the new key", learnt).await;
        works(app, &old).await.expect("the old key is good for an hour");
    }
    sql("update eventflow.signing_key set created_at = created_at - interval '2 h'").await;
    let fourth = ground.broker(&[]).await;
    assert_eq!(works(&fourth, &old).await.expect_err("too old").code(), Code::Unauthenticated);
    works(&fourth, &new).await.expect("the new one");
}
