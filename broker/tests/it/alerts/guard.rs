//! Where webhooks may not be, and how the broker keeps to it.

use super::{LOOSE, alert, create, telling, test, try_create, try_update};
use crate::support::{Clients, Ground, reason};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::AlertMeasure;
use eventflow_testkit::WebhookReceiver;
use tonic::Code;
use tonic_types::StatusExt;

/// A broker as it ships.
async fn strict() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    (ground, app, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_not_public_are_refused_by_field() {
    let (_ground, _app, mut clients) = strict().await;
    create(&mut clients, alert("behind", AlertMeasure::LagEvents, 0)).await;
    for url in [
        "http://example.com/hook",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1]/",
        "https://[64:ff9b::a00:1]/",
        "https://2130706433/",
        "https://user:password@example.com/",
        "ftp://example.com/",
        "hooks.example.com",
    ] {
        let made = try_create(&mut clients, telling("bad", url)).await.expect_err(url);
        let changed = try_update(&mut clients, telling("behind", url), &["webhook_url"]).await.expect_err(url);
        for status in [made, changed] {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{url}");
            let violations = status.get_details_bad_request().expect("a violation").field_violations;
            assert_eq!(violations[0].field, "alert.webhook_url", "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_is_not_spoken_to() {
    let (_ground, _app, mut clients) = strict().await;
    let receiver = WebhookReceiver::start([]).await;
    // A name like any other, until it is resolved.
    let url = format!("https://localhost:{}/", receiver.address().port());
    create(&mut clients, telling("inner", &url)).await;
    let answer = test(&mut clients, "inner").await.expect("answered");
    assert_eq!((answer.delivered, answer.http_status), (false, 0));
    assert!(answer.error.contains("no public address"), "{answer:?}");
    clients.publish("orders", 0, &["a"]).await;
    let told = super::until(&mut clients, "inner", |alert| alert.last_delivery.is_some()).await;
    assert!(told.last_delivery.expect("a delivery").error.contains("no public address"));
    assert_eq!(receiver.connections().0, 0, "nobody has connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_allowed_when_it_was_set_need_not_be_allowed_now() {
    let (ground, strict, mut clients) = strict().await;
    let receiver = WebhookReceiver::start([]).await;
    let loose = ground.broker(&LOOSE).await;
    let key = ground.key("acme").await;
    create(&mut Clients::new(&loose, &key).await, telling("inner", &receiver.url())).await;
    let answer = test(&mut clients, "inner").await.expect("answered");
    assert!(!answer.delivered && answer.error.contains("must begin with `https://`"), "{answer:?}");
    assert_eq!(receiver.connections().0, 0);
    let control = test(&mut Clients::new(&loose, &key).await, "inner").await.expect("answered");
    assert!(control.delivered, "{control:?}");
    drop(strict);
}
