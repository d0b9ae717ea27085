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
