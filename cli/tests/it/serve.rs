//! `serve`, `migrate`, `admin`, `status` and `doctor` on a database that tests share.

use eventflow_testkit::{Database, Process, RedisServer, Signal, free_port, free_ports};

use crate::support::{Ended, Home};

#[tokio::test]
async fn a_database_is_migrated_served_and_looked_at() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    let run = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--database-url", &url]);
        home.run(&arguments)
    };
    let set = [&format!("database.url={url}"), "server.listen=127.0.0.1:0", "http.listen=127.0.0.1:0"];
    let mut arguments = vec!["serve", "--allow-unsafe-durability"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    let early = home.run(&arguments);
    assert_eq!(early.code, 6, "{early:?}");
    assert!(early.err.contains("run `eventflow migrate`"), "{}", early.err);

    assert_eq!(run(&["migrate"]).code, 0);
    assert!(run(&["migrate"]).out.contains("is up to date"));
    let key = run(&["admin", "key", "create", "--organization", "acme"]);
    assert!(key.code == 0 && key.out.starts_with("ef_live_") && key.out.lines().count() == 1, "{key:?}");

    let reader = ["admin", "key", "create", "--organization", "acme", "--scope", "read", "--streams", "orders.*"];
    let reader = run(&reader);
    assert_eq!(reader.code, 0, "{reader:?}");
    let wrong = run(&["admin", "key", "create", "--organization", "acme", "--scope", "everything"]);
    assert!(wrong.code == 2 && wrong.err.contains("`everything` is no scope"), "{wrong:?}");

    quotas_are_set_and_lifted(&run);
    let [grpc, http]: [u16; 2] = free_ports();
    let set = [
        format!("database.url={url}"),
        format!("server.listen=127.0.0.1:{grpc}"),
        format!("http.listen=127.0.0.1:{http}"),
        "broker.name=b1".to_owned(),
    ];
    let mut arguments = vec!["serve"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    let refused = home.run(&arguments);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.err.starts_with("error[UNSAFE_DURABILITY]: "), "{}", refused.err);

    arguments.push("--allow-unsafe-durability");
    let mut broker = Process::start(home.command(&arguments));
    broker.wait_for_line("serving").await;
    let address = format!("eventflow://127.0.0.1:{grpc}");
    let mut list = home.command(&["stream", "list", "--url", &address]);
    let list = crate::support::ended(list.env("EVENTFLOW_API_KEY", key.out.trim()));
    assert_eq!(list.code, 0, "{list:?}");
    let mut create = home.command(&["stream", "create", "orders.eu", "--url", &address]);
    let create = crate::support::ended(create.env("EVENTFLOW_API_KEY", reader.out.trim()));
    assert!(create.code == 4 && create.err.starts_with("error[PERMISSION_DENIED]"), "{create:?}");
    let unknown = home.run(&["stream", "list", "--url", &address]);
    assert!(unknown.code == 4 && unknown.err.starts_with("error[UNAUTHENTICATED]"), "{unknown:?}");

    let status = run(&["status"]);
    assert!(status.code == 0 && status.out.contains("b1"), "{status:?}");
    let doctor = run(&["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert!(doctor.out.contains("✗ `fsync` is off"), "{}", doctor.out);
    a_redis_is_asked(&run).await;
    broker.signal(Signal::TERM);
    assert!(broker.wait().await.success());

    let raised = run(&["migrate", "--after-restore"]);
    assert!(raised.code == 0 && raised.out.contains("the log epoch is now 1"), "{raised:?}");
}

async fn a_redis_is_asked(run: &impl Fn(&[&str]) -> Ended) {
    assert!(!run(&["doctor"]).out.contains("Redis"), "nobody has named one");
    let nowhere = format!("redis://:hunter2@127.0.0.1:{}", free_port());
    let doctor = run(&["doctor", "--redis-url", &nowhere]);
    assert!(doctor.out.contains(" is away (") && !doctor.out.contains("hunter2"), "{}", doctor.out);
    let Some(redis) = RedisServer::start().await else { return };
    let doctor = run(&["doctor", "--redis-url", &redis.url()]);
    assert!(doctor.out.contains(&format!("Redis at localhost:{}/0 answers", redis.port())), "{}", doctor.out);
}

#[tokio::test]
async fn a_signal_while_the_database_keeps_the_start_waiting_ends_it_in_order() {
    let home = Home::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("database.url=postgresql://nobody@{}/none?sslmode=disable", silent.local_addr().unwrap());
    let set = [&url, "server.listen=127.0.0.1:0", "http.listen=127.0.0.1:0"];
    let mut arguments = vec!["serve"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    let mut broker = Process::start(home.command(&arguments));
    let (_connection, _) = silent.accept().await.unwrap();
    broker.signal(Signal::TERM);
    assert!(broker.wait().await.success(), "{:?}", broker.lines());
}

fn quotas_are_set_and_lifted(run: &dyn Fn(&[&str]) -> Ended) {
    let quota = |arguments: &[&str]| run(&[&["admin", "quota"], arguments].concat());
    assert!(quota(&["list"]).out.contains("nothing is set"));
    let of_acme = ["--organization", "acme"];
    let set = quota(&[&["set"], &of_acme[..], &["events_per_second=1000", "streams=none"]].concat());
    assert_eq!(set.code, 0, "{set:?}");
    let credential = ["--organization", "acme", "--credential", "key:abc"];
    assert_eq!(quota(&[&["set"], &credential[..], &["requests_per_second=5"]].concat()).code, 0);
    let listed = quota(&["list", "-o", "jsonl"]).out;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines[0].contains(r#""limit":1000"#) && lines[1].contains(r#""limit":null"#), "{listed}");
    for (arguments, says) in [
        (vec!["wishes=3"], "`wishes` is no quota"),
        (vec!["streams=-1"], "a whole number from 0, or `none`"),
        (vec!["--credential", "key:abc", "streams=1"], "a limit of organizations"),
    ] {
        let refused = quota(&[&["set"], &of_acme[..], &arguments].concat());
        assert!(refused.code == 2 && refused.err.contains(says), "{refused:?}");
    }
    let unknown = quota(&["set", "--organization", "nobody", "streams=1"]);
    assert!(unknown.code == 2 && unknown.err.contains("no organization `nobody`"), "{unknown:?}");
    assert!(quota(&[&["clear"], &of_acme[..]].concat()).err.contains("removed 2"));
    assert!(quota(&[&["clear"], &credential[..], &["requests_per_second"]].concat()).err.contains("removed 1"));
}
