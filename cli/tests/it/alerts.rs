//! Alerts from the command line: made, looked at, tried, changed, removed; and notifications over TLS.

use crate::{
    dev::Dev,
    support::{Ended, Home},
};
use eventflow_testkit::{Database, Process, Signal, WebhookReceiver, free_ports};
use serde_json::Value;

const AUTHORITY: &str = include_str!("../../../sdk-rust/tests/it/tls/authority.pem");
const HERE: &str = include_str!("../../../sdk-rust/tests/it/tls/here.pem");
const HERE_KEY: &str = include_str!("../../../sdk-rust/tests/it/tls/here.key");
const ELSEWHERE: &str = include_str!("../../../sdk-rust/tests/it/tls/elsewhere.pem");
const ELSEWHERE_KEY: &str = include_str!("../../../sdk-rust/tests/it/tls/elsewhere.key");

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

fn json(ended: Ended) -> Value {
    serde_json::from_str(&ok(ended)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_what_they_are_told_to_and_show_their_state() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let receiver = WebhookReceiver::start([]).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    ok(home.run(&["group", "create", "billing", "--stream", "orders"]));
    assert!(ok(home.run(&["alert", "list"])).contains("no alerts yet"));
    let lag = ["--measure", "lag-events", "--above", "1"];
    let made = ok(home.run(&[&["alert", "create", "billing", "quiet"][..], &lag, &["--for", "2m"]].concat()));
    assert!(made.contains("lag_events > 1 for 2 min") && !made.contains("ef_whsec_"), "{made}");
    let url = receiver.url();
    let made = home.run(&[&["alert", "create", "billing", "behind", "--webhook", &url][..], &lag].concat());
    let secret = ok(made);
    assert!(secret.starts_with("ef_whsec_") && secret.lines().count() == 1, "{secret}");
    assert_eq!(ok(home.run(&["alert", "test", "billing", "behind"])), "delivered: status 200\n");
    assert!(receiver.post(1).await.body.contains("\"alert.test\""));

    ok(home.run(&["publish", "orders", "a"]));
    ok(home.run(&["publish", "orders", "b"]));
    assert!(receiver.post(2).await.body.contains("\"alert.firing\""));
    let shown = loop {
        // poll
        let shown = json(home.run(&["alert", "show", "billing", "behind", "-o", "json"]));
        if shown["last_delivery"] != Value::Null {
            break shown;
        }
    };
    assert_eq!((&shown["state"], &shown["value"]), (&"firing".into(), &serde_json::json!(2.0)), "{shown}");
    assert_eq!(shown["last_delivery"]["result"], "delivered", "{shown}");
    let listed = ok(home.run(&["alert", "list", "--group", "billing"]));
    assert!(listed.contains("firing") && listed.contains("alert.firing delivered"), "{listed}");

    let changed = json(home.run(&["alert", "update", "billing", "behind", "--above", "5", "-o", "json"]));
    assert_eq!((&changed["threshold"], &changed["measure"]), (&5.into(), &"lag_events".into()));
    assert!(receiver.post(3).await.body.contains("\"alert.resolved\""));
    let rotated = ok(home.run(&["alert", "rotate-secret", "billing", "behind"]));
    assert!(rotated.starts_with("ef_whsec_") && rotated != secret);
    let deaf = home.run(&["alert", "test", "billing", "quiet"]);
    assert!(deaf.code != 0 && deaf.err.starts_with("error[ALERT_HAS_NO_WEBHOOK]"), "{deaf:?}");
    ok(home.run(&["alert", "update", "billing", "quiet", "--webhook", "http://127.0.0.1:1/"]));
    let refused = home.run(&["alert", "test", "billing", "quiet"]);
    assert!(refused.code == 1 && refused.err.starts_with("error[WEBHOOK_FAILED]"), "{refused:?}");
    let absent = home.run(&["alert", "show", "billing", "none"]);
    assert!(absent.code == 3 && absent.err.starts_with("error[ALERT_NOT_FOUND]"), "{absent:?}");
    let typo = home.run(&["alert", "list", "--group", "biling"]);
    assert!(typo.code == 3 && typo.err.contains("did you mean `billing`?"), "{typo:?}");
    assert_eq!(home.run(&["alert", "create", "billing", "half"]).code, 2);
    assert_eq!(home.run(&["alert", "delete", "billing", "behind"]).code, 2);
    for name in ["behind", "quiet"] {
        ok(home.run(&["alert", "delete", "billing", name, "--yes"]));
    }
    assert!(ok(home.run(&["alert", "list"])).contains("no alerts yet"));
    dev.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_go_over_tls_to_who_can_show_a_certificate() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    ok(home.run(&["migrate", "--database-url", &url]));
    let key = ["admin", "key", "create", "--organization", "acme", "--database-url", &url, "-o", "json"];
    let key = json(home.run(&key))["api_key"].as_str().unwrap().to_owned();
    let key = home.file("key", &key).display().to_string();
    let authority = home.file("authority.pem", AUTHORITY).display().to_string();
    let [grpc, http]: [u16; 2] = free_ports();
    let mut serve = home.command(&["serve", "--allow-unsafe-durability"]);
    serve
        .env("SSL_CERT_FILE", &authority)
        .env("EVENTFLOW_DATABASE_URL", &url)
        .env("EVENTFLOW_SERVER_LISTEN", format!("127.0.0.1:{grpc}"))
        .env("EVENTFLOW_HTTP_LISTEN", format!("127.0.0.1:{http}"))
        .env("EVENTFLOW_ALERTS_ALLOW_PRIVATE_ADDRESSES", "true");
    let mut broker = Process::start(serve);
    broker.wait_for_line("serving").await;
    let address = format!("eventflow://127.0.0.1:{grpc}");
    let run = |arguments: &[&str]| home.run(&[arguments, &["--url", &address, "--api-key-file", &key]].concat());
    ok(run(&["stream", "create", "orders"]));
    ok(run(&["group", "create", "billing", "--stream", "orders"]));
    let here = WebhookReceiver::start_with_tls(HERE, HERE_KEY).await;
    let elsewhere = WebhookReceiver::start_with_tls(ELSEWHERE, ELSEWHERE_KEY).await;
    for (name, receiver) in [("here", &here), ("elsewhere", &elsewhere)] {
        let hook = format!("https://localhost:{}/hook", receiver.address().port());
        let settings = ["--measure", "lag-events", "--above", "1", "--webhook", &hook];
        ok(run(&[&["alert", "create", "billing", name][..], &settings].concat()));
    }
    assert_eq!(ok(run(&["alert", "test", "billing", "here"])), "delivered: status 200\n");
    assert_eq!(here.post(1).await.headers["host"], format!("localhost:{}", here.address().port()));
    let refused = run(&["alert", "test", "billing", "elsewhere"]);
    assert!(refused.code == 1 && refused.err.contains("TLS failed"), "{refused:?}");
    assert!(elsewhere.posts().is_empty());
    let plain = run(&["alert", "update", "billing", "here", "--webhook", "http://localhost:1/"]);
    assert!(plain.err.starts_with("error[INVALID_ARGUMENT]") && plain.err.contains("https://"), "{plain:?}");
    broker.signal(Signal::TERM);
    assert!(broker.wait().await.success());
}
