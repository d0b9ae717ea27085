//! Events from files and standard input, every place to read from, and consumers whose broker dies.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use eventflow_testkit::{Database, Process, free_ports};

use crate::{
    dev::Dev,
    support::{Ended, Home},
};

fn with_input(command: &mut Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

#[tokio::test]
async fn events_come_from_standard_input_with_key_and_type_from_columns() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let publish = |arguments: &[&str], input: &str| {
        let arguments =
            [&["publish", "orders", "--key-column", "customer", "--type-column", "kind"], arguments].concat();
        with_input(&mut home.command(&arguments), input)
    };
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    let ndjson =
        "{\"customer\":\"a\",\"kind\":\"placed\",\"total\":1}\n\n{\"customer\":\"b\",\"kind\":\"paid\",\"total\":2}\n";
    let told = ok(publish(&["--format", "ndjson", "--rate", "1000"], ndjson));
    assert!(told.starts_with("published 2 events to 1 partitions of `orders` in "), "{told}");
    ok(publish(&["--file", "-", "--format", "csv"], "customer,kind,total\nc,placed,3\n"));
    let read = ok(home.run(&["consume", "orders", "--exit", "--format", "%o %t %k %v"]));
    assert_eq!(
        read,
        "0 placed a {\"customer\":\"a\",\"kind\":\"placed\",\"total\":1}\n\
         1 paid b {\"customer\":\"b\",\"kind\":\"paid\",\"total\":2}\n\
         2 placed c {\"customer\":\"c\",\"kind\":\"placed\",\"total\":\"3\"}\n"
    );

    // What stands before a bad line is published and counted.
    let bad = publish(&["--format", "ndjson"], "{\"customer\":\"d\",\"kind\":\"placed\"}\nno json\n");
    assert_eq!(bad.code, 1, "{bad:?}");
    assert!(bad.out.starts_with("published 1 events"), "{bad:?}");
    assert!(bad.err.contains("error[BAD_INPUT]: line 2 of standard input cannot be published\n"), "{}", bad.err);
    let missing = publish(&["--format", "csv"], "customer,total\na,1\n");
    assert!(missing.code == 1 && missing.err.contains("kind"), "{missing:?}");
    dev.stop().await;
}

#[tokio::test]
async fn an_event_goes_only_behind_the_last_one_of_its_key() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "accounts", "--track-keys", "--partitions", "2"]));
    let described = ok(home.run(&["stream", "describe", "accounts"]));
    assert!(described.contains("keys: the last offset of each is kept"), "{described}");
    let publish = |payload: &str, last: &str| {
        home.run(&["publish", "accounts", payload, "--key", "account-7", "--expect-last", last])
    };
    assert!(ok(publish("opened", "none")).contains(" @ offset 0  "));
    let late = publish("opened", "none");
    assert_eq!(late.code, 5, "{late:?}");
    let says = "error[EXPECTATION_FAILED]: key `account-7` has its last event at 0, and none was expected";
    assert!(late.err.contains(says), "{}", late.err);
    assert!(ok(publish("credited", "0")).contains(" @ offset 1  "));
    for wrong in [&["--expect-last", "soon", "--key", "a"][..], &["--expect-last", "0"]] {
        let wrong = home.run(&[&["publish", "accounts", "x"], wrong].concat());
        assert_eq!(wrong.code, 2, "{wrong:?}");
    }
    ok(home.run(&["stream", "create", "plain"]));
    let untracked = home.run(&["publish", "plain", "x", "--key", "a", "--expect-last", "none"]);
    assert!(untracked.err.contains("error[KEYS_NOT_TRACKED]"), "{untracked:?}");
    let more = home.run(&["stream", "add-partitions", "accounts", "--to", "4", "--yes"]);
    assert!(more.err.contains("error[KEY_REMAP_NOT_ALLOWED]"), "{more:?}");
    let changed = home.run(&["stream", "update", "accounts", "--description", "of customers"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    dev.stop().await;
}

#[tokio::test]
async fn reading_begins_wherever_it_is_asked_to() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "1"]));
    ok(with_input(&mut home.command(&["publish", "orders"]), "one\ntwo\nthree\n"));
    for (arguments, expected) in [
        (&["--from", "earliest"][..], "one\ntwo\nthree\n"),
        (&["--from", "1h"], "one\ntwo\nthree\n"),
        (&["--from", "2026-01-01T00:00:00Z"], "one\ntwo\nthree\n"),
        (&["--from", "offset:1", "--partition", "0"], "two\nthree\n"),
        (&["--from", "latest"], ""),
        (&["--tail", "2"], "two\nthree\n"),
        (&["--max", "1"], "one\n"),
    ] {
        let read = home.run(&[&["consume", "orders", "--exit", "--format", "payload"], arguments].concat());
        assert_eq!(ok(read), expected, "{arguments:?}");
    }
    let jsonl = ok(home.run(&["consume", "orders", "--exit", "--max", "1", "--format", "jsonl"]));
    let event: serde_json::Value = serde_json::from_str(&jsonl).unwrap();
    assert_eq!((&event["offset"], &event["payload_text"]), (&0.into(), &"one".into()), "{jsonl}");
    let beyond = home.run(&["consume", "orders", "--exit", "--from", "offset:99", "--partition", "0"]);
    assert!(beyond.code == 1 && beyond.err.starts_with("error[OFFSET_ABOVE_HEAD]: "), "{beyond:?}");
    dev.stop().await;
}

#[tokio::test]
async fn consumers_say_where_they_went_on_after_their_broker_died() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    ok(home.run(&["migrate", "--database-url", &url]));
    let key = ok(home.run(&["admin", "key", "create", "--organization", "acme", "--database-url", &url]));
    let key = home.file("key", &key).display().to_string();
    let [grpc, http]: [u16; 2] = free_ports();
    let serve = async || {
        let set = [
            format!("database.url={url}"),
            format!("server.listen=127.0.0.1:{grpc}"),
            format!("http.listen=127.0.0.1:{http}"),
        ];
        let mut arguments = vec!["serve", "--allow-unsafe-durability"];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        let mut broker = Process::start(home.command(&arguments));
        broker.wait_for_line("serving").await;
        broker
    };
    let address = format!("eventflow://127.0.0.1:{grpc}");
    let client = |arguments: &[&str]| home.command(&[arguments, &["--url", &address, "--api-key-file", &key]].concat());

    let mut broker = serve().await;
    ok(crate::support::ended(&mut client(&["stream", "create", "orders", "--partitions", "1"])));
    let format = ["--from", "earliest", "--format", "%o %v"];
    let mut reader = Process::start(client(&[&["consume", "orders"], &format[..]].concat()));
    let group = ["consume", "orders", "--group", "billing", "--create-group", "--member", "one"];
    let mut member = Process::start(client(&[&group, &format[..]].concat()));
    ok(crate::support::ended(&mut client(&["publish", "orders", "first"])));
    reader.wait_for_line("0 first").await;
    member.wait_for_line("0 first").await;

    broker.kill().await;
    let _broker = serve().await;
    ok(crate::support::ended(&mut client(&["publish", "orders", "second"])));
    for consumer in [&mut reader, &mut member] {
        let told = consumer.wait_for_line("reconnected after ").await;
        assert!(told.contains("s, resumed at orders/0 @ 1"), "{told}");
        consumer.wait_for_line("1 second").await;
        assert_eq!(consumer.lines().iter().filter(|line| line.ends_with("first")).count(), 1, "{:?}", consumer.lines());
    }
}
