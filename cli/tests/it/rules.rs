//! Rules from the command line: made, tried, looked at, switched off, removed.

use crate::{
    dev::Dev,
    support::{Ended, Home},
};
use serde_json::Value;

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

#[tokio::test]
async fn rules_copy_what_they_are_told_to_and_say_what_they_did() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    ok(home.run(&["stream", "create", "large"]));
    ok(home.run(&["publish", "orders", r#"{"amount": 5, "card": 1}"#]));
    let filter = ["--filter", "payload.amount > 10"];
    let tried = ok(home.run(&[&["rule", "test", "orders", "--route", "large"][..], &filter].concat()));
    assert!(tried.starts_with("0 of 1 stored events match"), "{tried}");
    let tried = ok(home.run(&["rule", "test", "orders", "--redact", "/card", "-o", "json"]));
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert_eq!(tried["events"][0]["event"]["payload"], r#"{"amount": 5, "card": "[redacted]"}"#, "{tried}");

    let made = ok(home.run(&["rule", "create", "orders", "mask", "--redact", "/card"]));
    assert!(made.contains("redacts /card") && made.contains("every event"), "{made}");
    ok(home.run(&[&["rule", "create", "orders", "large", "--route", "large"][..], &filter].concat()));
    // It is heard within a second; one that is copied was masked before.
    let copied = loop {
        // poll
        ok(home.run(&["publish", "orders", r#"{"amount": 50, "card": 2}"#]));
        let copied = ok(home.run(&["consume", "large", "--from", "earliest", "--exit", "--format", "%v"]));
        if !copied.is_empty() {
            break copied;
        }
    };
    assert!(copied.starts_with(r#"{"amount": 50, "card": "[redacted]"}"#), "{copied}");
    let listed = ok(home.run(&["rule", "list", "orders"]));
    assert!(listed.contains("copies to `large`") && listed.contains("payload.amount > 10"), "{listed}");
    let status = ok(home.run(&["rule", "status", "orders"]));
    assert!(status.starts_with("group `rules.orders`, 1 brokers"), "{status}");
    assert!(ok(home.run(&["group", "list"])).contains("runs rules"));

    let moved = ok(home.run(&["rule", "update", "orders", "large", "--position", "1", "--pass", "-o", "json"]));
    let moved: Value = serde_json::from_str(&moved).unwrap();
    assert_eq!((&moved["position"], &moved["action"]), (&1.into(), &serde_json::json!({"pass": {}})));
    assert!(ok(home.run(&["rule", "disable", "orders", "large"])).contains(" off "));
    assert!(ok(home.run(&["rule", "enable", "orders", "large"])).contains(" on "));
    let absent = home.run(&["rule", "describe", "orders", "none"]);
    assert!(absent.code == 3 && absent.err.starts_with("error[RULE_NOT_FOUND]"), "{absent:?}");
    let held = home.run(&["group", "delete", "rules.orders", "--yes", "--force"]);
    assert!(held.code == 5 && held.err.starts_with("error[CONSUMER_GROUP_MANAGED]"), "{held:?}");
    let unsure = home.run(&["rule", "delete", "orders", "large"]);
    assert_eq!(unsure.code, 2, "{unsure:?}");
    for name in ["large", "mask"] {
        ok(home.run(&["rule", "delete", "orders", name, "--yes"]));
    }
    assert_eq!(ok(home.run(&["rule", "status", "orders"])), "the stream has no rules\n");
    dev.stop().await;
}
