//! `eventflow key`: a key's life, as whoever runs programs lives it.

use eventflow_testkit::Process;
use serde_json::Value;

use crate::{
    dev::Dev,
    support::{Ended, Home},
};

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

fn id_of(key: &str) -> String {
    key.trim().split('_').nth(2).unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_made_used_refused_rotated_and_revoked_while_it_consumes() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let address = format!("eventflow://{}?tls=off", dev.listen);
    let with = |key: &str, arguments: &[&str]| {
        let mut command = home.command(&[arguments, &["--url", &address]].concat());
        command.env("EVENTFLOW_API_KEY", key.trim());
        command
    };
    let run = |key: &str, arguments: &[&str]| crate::support::ended(&mut with(key, arguments));

    let create = ["key", "create", "--description", "the till", "--scope", "publish", "--streams", "orders.*"];
    let publisher = ok(home.run(&create));
    assert!(publisher.starts_with("ef_live_") && publisher.lines().count() == 1, "{publisher}");
    ok(run(&publisher, &["publish", "orders.eu", "first"]));
    let refused = run(&publisher, &["publish", "audit", "first"]);
    assert!(refused.code == 4 && refused.err.starts_with("error[PERMISSION_DENIED]"), "{refused:?}");
    let refused = run(&publisher, &["key", "create"]);
    assert!(refused.code == 4 && refused.err.starts_with("error[PERMISSION_DENIED]"), "{refused:?}");

    let consumer = ok(home.run(&["key", "create", "--scope", "consume:orders.eu", "--expires-in", "30d"]));
    ok(home.run(&["group", "create", "billing", "--stream", "orders.eu"]));
    let consume = ["consume", "orders.eu", "--group", "billing", "--format", "%v"];
    let mut member = Process::start(with(&consumer, &consume));
    member.wait_for_line("first").await;

    let listed: Value = serde_json::from_str(&ok(home.run(&["key", "list", "-o", "json"]))).unwrap();
    let listed = listed.as_array().unwrap();
    let found = listed.iter().find(|key| key["id"] == id_of(&publisher)).unwrap();
    assert_eq!((&found["scopes"][0], &found["description"]), (&"publish:orders.*".into(), &"the till".into()));
    assert!(!ok(home.run(&["key", "list"])).contains(&publisher.trim()[21..]), "the secret shows");

    let rotated = home.run(&["key", "rotate", &id_of(&publisher), "--overlap", "1h"]);
    assert!(rotated.err.contains(&format!("the old key `{}` ends at ", id_of(&publisher))), "{rotated:?}");
    for key in [&publisher, &ok(rotated)] {
        ok(run(key, &["publish", "orders.eu", "second"]));
    }
    let unsure = home.run(&["key", "revoke", &id_of(&consumer)]);
    assert!(unsure.code == 2 && unsure.err.contains("--yes"), "{unsure:?}");
    let revoked = home.run(&["key", "revoke", &id_of(&consumer), "--yes"]);
    assert!(revoked.code == 0 && revoked.err.contains("revoked ef_live_"), "{revoked:?}");
    member.wait_for_line("error[UNAUTHENTICATED]").await;
    assert_eq!(member.wait().await.code(), Some(4));
    let absent = home.run(&["key", "revoke", "000000000000", "--yes"]);
    assert!(absent.code == 3 && absent.err.starts_with("error[API_KEY_NOT_FOUND]"), "{absent:?}");
    dev.stop().await;
}
