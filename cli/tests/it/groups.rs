//! Groups from the command line: settings, shared consumption, what failed.

use crate::{
    dev::Dev,
    support::{Ended, Home},
};

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

#[tokio::test]
async fn a_shared_group_acknowledges_what_it_printed() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    for text in ["one", "two", "three"] {
        ok(home.run(&["publish", "orders", text]));
    }
    let create = ["group", "create", "mailer", "--stream", "orders", "--mode", "shared", "--max-attempts", "5"];
    ok(home.run(&[&create[..], &["--ack-timeout", "20s", "--retry-initial", "500ms"]].concat()));
    let consume = |arguments: &[&str]| {
        let group = ["consume", "orders", "--group", "mailer", "--format", "%o %v"];
        ok(home.run(&[&group[..], arguments].concat()))
    };
    assert_eq!(consume(&["--max", "1"]), "0 one\n");
    assert_eq!(consume(&["--exit"]), "1 two\n2 three\n");
    assert_eq!(consume(&["--exit"]), "", "what was printed does not come again");

    let shown = ok(home.run(&["group", "describe", "mailer"]));
    for part in ["shared, no members", "0 to be tried again, 0 dead letters", "up to 5 attempts", "at the head"] {
        assert!(shown.contains(part), "`{part}` in {shown}");
    }
    let json = ok(home.run(&["group", "describe", "mailer", "--output", "json"]));
    let group: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&group["mode"], &group["ack_timeout_ms"]), (&"shared".into(), &20_000.into()), "{json}");
    assert_eq!((&group["retry"]["initial_ms"], &group["on_failure"]), (&500.into(), &serde_json::Value::Null));
    let refused = home.run(&["group", "create", "x", "--stream", "orders", "--mode", "shared", "--on-failure", "skip"]);
    assert!(refused.code == 1 && refused.err.contains("on_failure"), "{refused:?}");
    dev.stop().await;
}

#[tokio::test]
async fn scripts_take_events_call_by_call_and_settle_them() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    let create = ["group", "create", "mailer", "--stream", "orders", "--mode", "shared", "--key-order"];
    let made = ok(home.run(&[&create[..], &["-o", "json"]].concat()));
    assert!(made.contains("\"key_order\": true"), "{made}");
    ok(home.run(&["publish", "orders", "one", "--key", "a"]));
    ok(home.run(&["publish", "orders", "two", "--key", "b", "--delay", "30d"]));
    ok(home.run(&["publish", "orders", "three", "--key", "c"]));
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&ok(home.run(&[arguments, &["-o", "json"]].concat()))).unwrap()
    };
    let mut answer = json(&["poll", "mailer", "--member", "script", "--wait", "5s"]);
    let mut events: Vec<serde_json::Value> = answer["events"].as_array().unwrap().clone();
    while events.len() < 2 {
        answer = json(&["poll", "--cursor", answer["cursor"].as_str().unwrap(), "--wait", "5s"]);
        events.extend(answer["events"].as_array().unwrap().clone());
    }
    let texts: Vec<&str> = events.iter().map(|event| event["payload_text"].as_str().unwrap()).collect();
    assert_eq!((texts, &answer["member"]), (vec!["one", "three"], &"script".into()));
    let handle = |index: usize| events[index]["handle"].as_str().unwrap();
    let session = answer["session"].as_str().unwrap();
    ok(home.run(&["ack", session, handle(0), "--extend", "1m"]));
    ok(home.run(&["ack", session, handle(0)]));
    ok(home.run(&["ack", session, handle(1), "--fail", "no such customer", "--class", "data", "--give-up"]));
    let again = home.run(&["ack", session, handle(0)]);
    assert!(again.code == 5 && again.err.contains("error[EVENT_NOT_IN_FLIGHT]"), "{again:?}");
    let listed = ok(home.run(&["dlq", "list", "mailer"]));
    assert!(listed.contains("no such customer") && listed.contains("data"), "{listed}");
    assert_eq!(ok(home.run(&["ack", session, "--leave"])), "settled 0, and left\n");
    let told = ok(home.run(&["group", "explain", "mailer", "orders/0@1"]));
    assert!(told.contains("DELAYED"), "{told}");
    let far = home.run(&["publish", "orders", "x", "--delay", "31d"]);
    assert!(far.code == 1 && far.err.contains("deliver_at") && far.err.contains("30 days"), "{far:?}");
    dev.stop().await;
}
