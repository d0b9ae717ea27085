//! What a webhook is told, how it can check who tells, and how often it is asked.

use super::{create, spine, telling, test, try_get, until, until_state};
use crate::support::member::Member;
use crate::support::{Clients, reason};
use eventflow_proto::v1::{self, AlertDeliveryResult, AlertState};
use eventflow_testkit::{Reply, TakenPost, WebhookReceiver, within};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeSet;
use tokio::task::JoinSet;
use tonic::Code;

/// Whether a post has a signature by the secret, as docs/alerts.md says to check it.
fn is_signed(post: &TakenPost, secret: &str) -> bool {
    let header = &post.headers["eventflow-signature"];
    let time: Vec<&str> = header.split(',').filter_map(|part| part.strip_prefix("t=")).collect();
    let parts: Vec<&str> = header.split(',').filter_map(|part| part.strip_prefix("v1=")).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(format!("{}.{}", time[0], post.body).as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    parts.contains(&expected.as_str())
}

fn json(post: &TakenPost) -> Value {
    serde_json::from_str(&post.body).expect("JSON")
}

/// Commits all that was published.
async fn catch_up(clients: &Clients, next_offset: i64) {
    let mut member = Member::join(clients, "billing", "one").await.expect("joined");
    member.texts(1).await;
    member.commit(0, next_offset).await;
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_both_changes_in_their_order_and_can_check_who_tells() {
    let (_ground, _app, mut clients) = spine().await;
    let receiver = WebhookReceiver::start([]).await;
    clients.publish("orders", 0, &["a"]).await;
    let mut alert = telling("behind", &receiver.url());
    alert.description = "call \"Ada\"\n".into();
    let secret = create(&mut clients, alert).await;
    assert!(secret.starts_with("ef_whsec_") && secret.len() == 52, "{secret}");
    let firing = receiver.post(1).await;
    catch_up(&clients, 1).await;
    let resolved = receiver.post(2).await;
    for (post, kind, state, value, sequence) in
        [(&firing, "alert.firing", "firing", 1, 1), (&resolved, "alert.resolved", "ok", 0, 2)]
    {
        assert_eq!(post.line, "POST /hook?a=b");
        assert_eq!(post.headers["content-type"], "application/json");
        assert_eq!(post.headers["host"], receiver.address().to_string());
        assert!(is_signed(post, &secret) && !is_signed(post, "ef_whsec_another"), "{post:?}");
        let body = json(post);
        assert_eq!(post.headers["eventflow-id"], body["id"].as_str().expect("an id"));
        for (field, expected) in [
            ("type", Value::from(kind)),
            ("organization", "acme".into()),
            ("stream", "orders".into()),
            ("group", "billing".into()),
            ("alert", "behind".into()),
            ("description", "call \"Ada\"\n".into()),
            ("measure", "lag_events".into()),
            ("threshold", 0.into()),
            ("value", value.into()),
            ("state", state.into()),
            ("sequence", sequence.into()),
        ] {
            assert_eq!(body[field], expected, "{field} of {body}");
        }
        assert!(body["since"].as_str() <= body["time"].as_str(), "{body}");
    }
    assert_ne!(json(&firing)["id"], json(&resolved)["id"]);
    let told = until(&mut clients, "behind", |alert| {
        alert.last_delivery.as_ref().is_some_and(|delivery| delivery.r#type == "alert.resolved")
    });
    let told = told.await.last_delivery.expect("a delivery");
    assert_eq!((told.result(), told.attempts, told.http_status), (AlertDeliveryResult::Delivered, 1, 200));
    assert!(told.error.is_empty() && told.retry_time.is_none(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_told_again_under_the_same_id_and_later_changes_wait() {
    let (_ground, _app, mut clients) = spine().await;
    let receiver = WebhookReceiver::start([Reply::Says(500, "nobody's business".into()), Reply::Status(503)]).await;
    clients.publish("orders", 0, &["a"]).await;
    let secret = create(&mut clients, telling("behind", &receiver.url())).await;
    receiver.post(1).await;
    let failed = until(&mut clients, "behind", |alert| alert.last_delivery.is_some()).await;
    let failed = failed.last_delivery.expect("a delivery");
    assert_eq!(failed.r#type, "alert.firing");
    if failed.attempts == 1 {
        assert_eq!((failed.result(), failed.http_status), (AlertDeliveryResult::Retrying, 500));
        assert_eq!(failed.error, "answered with status 500");
        assert!(failed.retry_time.is_some());
    }
    catch_up(&clients, 1).await;
    receiver.post(4).await;
    let posts = receiver.posts();
    let ids: Vec<&String> = posts.iter().map(|post| &post.headers["eventflow-id"]).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert!(posts[0].body == posts[2].body && posts.iter().all(|post| is_signed(post, &secret)), "{posts:?}");
    assert_eq!(json(&posts[3])["type"], "alert.resolved", "the second change came after the first was delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_nobody_takes_is_given_up_and_so_are_the_oldest_of_too_many() {
    let (ground, _app, mut clients) = spine().await;
    let receiver = WebhookReceiver::that_always(Reply::Status(404)).await;
    clients.publish("orders", 0, &["a"]).await;
    create(&mut clients, telling("behind", &receiver.url())).await;
    let sql = ground.database.connect().await;
    // As if fifteen attempts had failed.
    receiver.post(1).await;
    until(&mut clients, "behind", |alert| alert.last_delivery.is_some()).await;
    let old = "update eventflow.alert_delivery set attempts = 15, due_at = clock_timestamp()";
    assert_eq!(sql.execute(old, &[]).await.expect("old"), 1);
    let given_up = until(&mut clients, "behind", |alert| {
        alert.last_delivery.as_ref().is_some_and(|delivery| delivery.attempts == 16)
    });
    let given_up = given_up.await.last_delivery.expect("a delivery");
    assert_eq!((given_up.result(), given_up.http_status), (AlertDeliveryResult::GivenUp, 404));
    let waiting = async || -> (i64, i64) {
        let count = "select count(*), coalesce(min(sequence), 0) from eventflow.alert_delivery";
        let row = sql.query_one(count, &[]).await.expect("a count");
        (row.get(0), row.get(1))
    };
    assert_eq!(waiting().await.0, 0);
    // An alert that changes all the time, whose webhook takes nothing.
    let again = "update eventflow.alert set state = 'ok', due_at = clock_timestamp();
            update eventflow.alert_delivery set due_at = clock_timestamp() + interval '1 hour'";
    let flapped = async {
        loop {
            // poll
            sql.batch_execute(again).await.expect("again");
            sql.execute("select * from eventflow.evaluate_alerts_v1(10, 1000, 5000, 20)", &[])
                .await
                .expect("evaluated");
            let (count, oldest) = waiting().await;
            assert!(count <= 20, "{count}");
            if oldest > 10 {
                return count;
            }
        }
    };
    assert_eq!(within("many changes", flapped).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let (_ground, _app, mut clients) = spine().await;
    let elsewhere = WebhookReceiver::start([]).await;
    let receiver = WebhookReceiver::start([Reply::Redirect(elsewhere.url())]).await;
    create(&mut clients, telling("behind", &receiver.url())).await;
    let answer = test(&mut clients, "behind").await.expect("answered");
    assert_eq!((answer.delivered, answer.http_status), (false, 307));
    assert!(answer.error.contains("redirects are not followed"), "{answer:?}");
    assert!(test(&mut clients, "behind").await.expect("answered").delivered, "the control");
    assert_eq!(elsewhere.connections().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_posted_once_and_answered_with_the_status_and_nothing_else() {
    let (_ground, _app, mut clients) = spine().await;
    let said = "the answer of an inner service";
    let receiver = WebhookReceiver::start([Reply::Status(204), Reply::Says(502, said.into())]).await;
    let secret = create(&mut clients, telling("behind", &receiver.url())).await;
    let answer = test(&mut clients, "behind").await.expect("answered");
    assert_eq!((answer.delivered, answer.http_status, answer.error.as_str()), (true, 204, ""));
    let post = receiver.post(1).await;
    assert!(is_signed(&post, &secret) && json(&post)["type"] == "alert.test", "{post:?}");
    let answer = test(&mut clients, "behind").await.expect("answered");
    assert_eq!((answer.delivered, answer.http_status), (false, 502));
    assert!(!format!("{answer:?}").contains(said), "{answer:?}");
    let alert = try_get(&mut clients, "behind").await.expect("an alert");
    assert!(alert.last_delivery.is_none() && alert.version == 1, "a test changes nothing: {alert:?}");
    create(&mut clients, telling("deaf", "")).await;
    let status = test(&mut clients, "deaf").await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "ALERT_HAS_NO_WEBHOOK"));
    // Nobody listens there any more.
    let port = eventflow_testkit::free_port();
    create(&mut clients, telling("gone", &format!("http://127.0.0.1:{port}/"))).await;
    let answer = test(&mut clients, "gone").await.expect("answered");
    assert_eq!((answer.delivered, answer.http_status), (false, 0));
    assert_eq!(answer.error, "could not connect: connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_is_used_beside_the_old_one_for_a_day() {
    let (ground, _app, mut clients) = spine().await;
    let receiver = WebhookReceiver::start([]).await;
    let first = create(&mut clients, telling("behind", &receiver.url())).await;
    let request = v1::RotateAlertSecretRequest { group: "billing".into(), name: "behind".into(), ..Default::default() };
    let rotated = clients.alerts.rotate_alert_secret(request).await.expect("rotated").into_inner();
    assert!(rotated.secret.starts_with("ef_whsec_") && rotated.secret != first);
    assert!(rotated.alert.expect("an alert").secret_rotate_time.is_some());
    clients.publish("orders", 0, &["a"]).await;
    let post = receiver.post(1).await;
    assert!(is_signed(&post, &first) && is_signed(&post, &rotated.secret), "{post:?}");
    let sql = ground.database.connect().await;
    let age = "update eventflow.alert set secret_rotated_at = secret_rotated_at - interval '25 hours'";
    sql.batch_execute(age).await.expect("aged");
    catch_up(&clients, 1).await;
    let post = receiver.post(2).await;
    assert!(!is_signed(&post, &first) && is_signed(&post, &rotated.secret), "{post:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_hang_hold_up_neither_another_organization_nor_tests_without_end() {
    let (ground, app, mut clients) = spine().await;
    let hanging = WebhookReceiver::that_always(Reply::Hang).await;
    clients.publish("orders", 0, &["a"]).await;
    for number in 0..9 {
        create(&mut clients, telling(&format!("a{number}"), &hanging.url())).await;
    }
    hanging.post(4).await;
    let mut other = Clients::new(&app, &ground.key("other").await).await;
    other.create_stream("orders", 1).await;
    other.create_group("billing", "orders").await;
    other.publish("orders", 0, &["a"]).await;
    let receiver = WebhookReceiver::start([]).await;
    create(&mut other, telling("behind", &receiver.url())).await;
    receiver.post(1).await;
    assert!(hanging.connections().1 <= 4, "of one organization at a time: {:?}", hanging.connections());
    let mut tests = JoinSet::new();
    for number in 0..9 {
        let mut clients = clients.clone();
        tests.spawn(async move { test(&mut clients, &format!("a{number}")).await });
    }
    let first = within("a test too many", tests.join_next()).await.expect("one").expect("no panic");
    let status = first.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    hanging.release();
    while let Some(ended) = tests.join_next().await {
        assert_eq!(ended.expect("no panic").expect("answered").http_status, 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_webhook_an_alert_goes_on_and_what_waited_is_dropped() {
    let (ground, _app, mut clients) = spine().await;
    let receiver = WebhookReceiver::that_always(Reply::Status(500)).await;
    clients.publish("orders", 0, &["a"]).await;
    create(&mut clients, telling("behind", &receiver.url())).await;
    receiver.post(1).await;
    super::try_update(&mut clients, telling("behind", ""), &["webhook_url"]).await.expect("changed");
    let sql = ground.database.connect().await;
    let count = sql.query_one("select count(*) from eventflow.alert_delivery", &[]).await.expect("a count");
    assert_eq!(count.get::<_, i64>(0), 0);
    catch_up(&clients, 1).await;
    until_state(&mut clients, "behind", AlertState::Ok).await;
    let bodies: BTreeSet<String> = receiver.posts().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies.len(), 1, "nobody was told of the second change");
}
