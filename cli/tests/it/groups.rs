//! Groups from the command line: settings, shared consumption, what failed.

use std::{fs, sync::Arc};

use eventflow::{Client, ClientOptions, Failure, Job};
use tokio::sync::Notify;

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

/// Gives up the next event of the group `mailer`.
async fn give_up(home: &Home, dev: &Dev) {
    let env = fs::read_to_string(home.path("dev/dev.env")).unwrap();
    let key = env.lines().find_map(|line| line.strip_prefix("EVENTFLOW_API_KEY=")).unwrap().trim_matches('\'');
    let options = ClientOptions::new(&format!("eventflow://{}?tls=off", dev.listen)).unwrap().api_key(key);
    let worker = Client::connect_with(options).await.unwrap().worker("mailer").build().await.unwrap();
    let given_up = Arc::new(Notify::new());
    let handler = |_: Arc<Job>| {
        given_up.notify_one();
        async { Err::<(), _>(Failure::give_up("the total is no number")) }
    };
    worker.run(1, given_up.notified(), handler).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_is_edited_with_a_shown_difference_and_comes_again_as_edited() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    ok(home.run(&["publish", "orders", r#"{"total":"7"}"#, "--header", "source=shop"]));
    ok(home.run(&["group", "create", "mailer", "--stream", "orders", "--mode", "shared"]));
    give_up(&home, &dev).await;
    let list = ok(home.run(&["dlq", "list", "mailer", "--output", "json"]));
    let letters: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = letters[0]["id"].as_str().unwrap();
    assert_eq!(letters[0]["edit"], serde_json::Value::Null);

    let nothing = home.run(&["dlq", "edit", "mailer", id]);
    assert!(nothing.code == 2 && nothing.err.contains("--payload"), "{nothing:?}");
    let no_header = home.run(&["dlq", "edit", "mailer", id, "--remove-header", "sauce"]);
    assert!(no_header.code == 2 && no_header.err.contains("no header `sauce`"), "{no_header:?}");
    let payload = home.file("mended.json", r#"{"total":7}"#).display().to_string();
    let edit = ["dlq", "edit", "mailer", id, "--payload", payload.as_str()];
    let edited = ok(home.run(&[&edit[..], &["--header", "mended=yes", "--remove-header", "source"]].concat()));
    let differences = [
        "    + header mended: yes\n",
        "    - header source: shop\n",
        "    -   \"total\": \"7\"\n",
        "    +   \"total\": 7\n",
    ];
    let differences = differences.concat();
    assert_eq!(edited, differences);
    let shown = ok(home.run(&["dlq", "show", "mailer", id]));
    assert!(shown.contains(" UTC by key:") && shown.contains(": payload, headers\n"), "{shown}");
    assert!(shown.contains(&differences) && shown.ends_with("\n{\"total\":7}\n"), "{shown}");
    let json = ok(home.run(&["dlq", "show", "mailer", id, "--output", "json"]));
    let letter: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(letter["edit"]["original"]["payload"], r#"{"total":"7"}"#, "{json}");
    assert_eq!(letter["edit"]["original"]["headers"]["source"], "shop", "{json}");

    let json = ok(home.run(&["dlq", "redrive", "mailer", id, "--yes", "--output", "json"]));
    let redriven: serde_json::Value = serde_json::from_str(&json).unwrap();
    let redrive = redriven["redrive_id"].as_str().unwrap();
    let redrives = ok(home.run(&["dlq", "redrives", "mailer"]));
    assert!(redrives.contains(redrive) && redrives.contains("WAITING"), "{redrives}");
    // It waits, since nobody is there, and goes back and forth.
    let cancelled = ok(home.run(&["dlq", "cancel", "mailer", redrive]));
    assert_eq!(cancelled, "1 of 1 events are dead letters again; 0 are with members\n");
    ok(home.run(&["dlq", "redrive", "mailer", "--all", "--yes"]));
    let consume = ["consume", "orders", "--group", "mailer", "--max", "1", "--format", "%o %v"];
    assert_eq!(ok(home.run(&consume)), "0 {\"total\":7}\n");
    dev.stop().await;
}
