//! `eventflow dev` from its first start to its end, and the client verbs on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use eventflow_testkit::{Process, Signal, free_ports};

use crate::support::{Ended, Home, mode};

/// A running `dev` in the home's own directory.
pub struct Dev {
    process: Process,
    pub listen: String,
    http: String,
}

impl Dev {
    pub async fn start(home: &Home) -> Self {
        let [grpc, http]: [u16; 2] = free_ports();
        let (listen, http) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
        let mut process = Process::start(home.command(&arguments(home, &listen, &http)));
        process.wait_for_line("EventFlow is ready").await;
        process.wait_for_line("Ctrl-C stops").await;
        Self { process, listen, http }
    }

    pub async fn stop(mut self) {
        self.process.signal(Signal::INT);
        let status = self.process.wait().await;
        assert!(status.success(), "{status}: {:?}", self.process.lines());
    }
}

fn arguments<'a>(home: &Home, listen: &'a str, http: &'a str) -> [&'a str; 7] {
    let dir: &'static str = home.path("dev").display().to_string().leak();
    ["dev", "--data-dir", dir, "--listen", listen, "--http", http]
}

fn postmaster(dir: &Path) -> u32 {
    let file = fs::read_to_string(dir.join("postgres/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

fn lives(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out
}

#[tokio::test]
async fn a_broker_may_open_as_many_files_as_the_hard_limit_allows() {
    let home = Home::new();
    let [grpc, http]: [u16; 2] = free_ports();
    let (listen, http) = (format!("127.0.0.1:{grpc}"), format!("127.0.0.1:{http}"));
    let few = ["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_eventflow")];
    let few = [&few[..], &arguments(&home, &listen, &http)].concat();
    let mut process = Process::start(home.command_of(Path::new("sh"), &few));
    process.wait_for_line("Ctrl-C stops").await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid().unwrap())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [.., soft, hard, _] = *open_files.split_whitespace().collect::<Vec<_>>() else { panic!("{open_files}") };
    assert_eq!(soft, hard);
    process.signal(Signal::INT);
    assert!(process.wait().await.success());
}

#[tokio::test]
async fn the_first_five_minutes_and_a_second_start() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    assert_eq!(mode(&home.path("dev/dev.env")), 0o600);
    let env = fs::read_to_string(home.path("dev/dev.env")).unwrap();

    let first = ok(home.run(&["publish", "hello", "first event"]));
    assert!(first.starts_with("hello/0 @ offset 0  ") && first.ends_with(" ms\n"), "{first}");
    let read = ok(home.run(&["consume", "hello", "--exit", "--format", "%p %o %v"]));
    assert_eq!(read, "0 0 first event\n");

    let chosen = ok(home.run(&["publish", "hello", "here", "--partition", "5", "--key", "k"]));
    assert!(chosen.starts_with("hello/5 @ offset "), "{chosen}");
    let beyond = home.run(&["publish", "hello", "nowhere", "--partition", "8"]);
    assert_ne!(beyond.code, 0);
    assert!(beyond.err.starts_with("error[PARTITION_OUT_OF_RANGE]: "), "{}", beyond.err);
    let object: serde_json::Value =
        serde_json::from_str(&ok(home.run(&["consume", "hello", "--partition", "5", "--exit", "--format", "jsonl"])))
            .unwrap();
    assert!(object["publisher"].as_str().unwrap().starts_with("key:"), "{object}");

    let missing = home.run(&["consume", "helo", "--exit"]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.err.starts_with("error[STREAM_NOT_FOUND]: "), "{}", missing.err);
    assert!(missing.err.contains("hint: did you mean `hello`?"), "{}", missing.err);
    assert!(missing.err.contains("request id: "), "{}", missing.err);

    let live = home.run(&arguments(&home, &dev.listen, &dev.http));
    assert_eq!(live.code, 5, "{live:?}");
    assert!(live.err.starts_with("error[ALREADY_RUNNING]: "), "{}", live.err);

    let postgres = postmaster(&home.path("dev"));
    dev.stop().await;
    assert!(!lives(postgres));

    let again = Dev::start(&home).await;
    assert_eq!(key_of(&env), key_of(&fs::read_to_string(home.path("dev/dev.env")).unwrap()));
    let read = ok(home.run(&["consume", "hello", "--partition", "0", "--exit", "--format", "payload"]));
    assert_eq!(read, "first event\n");
    again.stop().await;
}

fn key_of(env: &str) -> Option<&str> {
    env.lines().find(|line| line.starts_with("EVENTFLOW_API_KEY="))
}

#[tokio::test]
async fn a_killed_dev_leaves_no_postgres() {
    let home = Home::new();
    let mut dev = Dev::start(&home).await;
    let postgres = postmaster(&home.path("dev"));
    assert!(lives(postgres));
    dev.process.kill().await;
    let gone = async {
        while lives(postgres) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await; // poll
        }
    };
    eventflow_testkit::within("Postgres to die with its parent", gone).await;
}

#[tokio::test]
async fn groups_and_files_work_from_the_command_line() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    ok(home.run(&["stream", "create", "orders", "--partitions", "2", "--retention", "14d"]));
    let csv = home
        .file("orders.csv", "id,at,total\na,2026-01-01 00:00:00,1\nb,2026-01-02 00:00:00,2\na,2026-01-03 00:00:00,3\n");
    let csv = csv.to_str().unwrap();
    let published =
        home.run(&["publish", "orders", "--file", csv, "--key-column", "id", "--time-column", "at", "-o", "json"]);
    assert!(ok(published).contains("\"events\": 3"));

    let refused = home.run(&["consume", "orders", "--group", "g", "--exit"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains("--create-group"), "{}", refused.err);
    let arguments = ["consume", "orders", "--group", "g", "--create-group", "--exit", "--format", "%k %v"];
    let read = ok(home.run(&arguments));
    assert_eq!(read.lines().count(), 3, "{read}");
    let of_a: Vec<&str> = read.lines().filter(|line| line.starts_with("a ")).collect();
    assert!(of_a[0].contains("\"total\":\"1\"") && of_a[1].contains("\"total\":\"3\""), "{read}");
    // What was shown was committed.
    assert_eq!(ok(home.run(&arguments)), "");

    let lag = ok(home.run(&["lag", "g", "-o", "jsonl"]));
    assert!(lag.starts_with("{\"events\":0,"), "{lag}");
    ok(home.run(&["group", "seek", "g", "--to", "earliest", "--yes"]));
    assert_eq!(ok(home.run(&arguments)).lines().count(), 3);
    let tail = ok(home.run(&["consume", "orders", "--tail", "1", "--exit", "--format", "jsonl"]));
    assert_eq!(tail.lines().count(), 1, "{tail}");
    ok(home.run(&["group", "describe", "g"]));
    let unsure = home.run(&["stream", "delete", "orders"]);
    assert_eq!(unsure.code, 2, "{unsure:?}");
    let used = home.run(&["stream", "delete", "orders", "--yes"]);
    assert!(used.code == 5 && used.err.starts_with("error[STREAM_HAS_GROUPS]"), "{used:?}");
    ok(home.run(&["stream", "delete", "orders", "--yes", "--force"]));
    dev.stop().await;
}
