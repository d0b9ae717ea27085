//! Whatever happens to the process that started it, no Postgres is left behind, and the data is.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and the helper is told its directory by the environment"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eventflow_embedded::{Cluster, Error, Guard, Options};
use support::{options, query_url, scratch};

/// The helper program with a cluster of `dir`. Dropping it kills it and waits for its Postgres to end.
struct Holder {
    process: Child,
    url: String,
    postmaster: u32,
}

impl Holder {
    fn start(mut command: Command, dir: &Path) -> Holder {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.map(|line| line.unwrap()).find(|line| line.starts_with("postgresql:")).unwrap();
        let postmaster = postmaster_pid(dir);
        Holder { process, url, postmaster }
    }

    fn of(dir: &Path) -> Holder {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventflow-postgres"));
        command.arg(dir);
        Holder::start(command, dir)
    }

    /// This test binary again, running only [`hold_with_setpriv`].
    fn with_setpriv(dir: &Path) -> Holder {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hold_with_setpriv", "--nocapture"]).env("HELD_DIR", dir);
        Holder::start(command, dir)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
        wait_for_end(self.postmaster);
    }
}

fn postmaster_pid(dir: &Path) -> u32 {
    let text = fs::read_to_string(dir.join("postgres/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

/// Waits for the process to end; a zombie that nobody collects counts.
fn wait_for_end(pid: u32) {
    let began = Instant::now();
    while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.contains(") Z ") {
            return;
        }
        // bound: 20 s, so that the loop ends
        assert!(began.elapsed() < Duration::from_secs(20), "process {pid} was left behind");
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_parent_leaves_no_postgres_and_loses_no_data() {
    let dir = scratch();
    let first = Holder::of(dir.path());
    query_url(&first.url, "create table kept as select 42 as answer").unwrap();
    drop(first);

    let mut second = Holder::of(dir.path());
    let found = query_url(&second.url, "select answer from kept");
    assert_eq!(found.unwrap(), "42");
    drop(second.process.stdin.take());
    assert!(second.process.wait().unwrap().success());
}

#[test]
fn a_start_right_after_the_kill_waits_for_the_old_server() {
    let dir = scratch();
    let mut first = Holder::of(dir.path());
    first.kill();
    let second = Holder::of(dir.path());
    assert_eq!(query_url(&second.url, "select 1").unwrap(), "1");
}

#[test]
fn a_killed_program_without_a_main_of_ours_leaves_no_postgres_either() {
    let dir = scratch();
    let held = Holder::with_setpriv(dir.path());
    assert_eq!(query_url(&held.url, "select 1").unwrap(), "1");
}

/// The program that the test above kills. Not asked to hold anything, it has nothing to do.
#[test]
fn hold_with_setpriv() {
    let Some(dir) = std::env::var_os("HELD_DIR") else {
        return;
    };
    let mut cluster = Cluster::prepare(options(Path::new(&dir))).unwrap();
    cluster.start().unwrap();
    writeln!(std::io::stdout(), "\n{}", cluster.connection_url()).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_killed_postmaster_leaves_a_lock_file_that_stops_nobody() {
    let dir = scratch();
    let mut cluster = Cluster::prepare(options(dir.path())).unwrap();
    cluster.start().unwrap();
    cluster.stop(eventflow_embedded::Stop::Kill).unwrap();
    assert!(dir.path().join("postgres/postmaster.pid").exists());
    cluster.start().unwrap();
}

#[test]
fn the_guard_runs_postgres_as_another_user_than_root() {
    let dir = scratch();
    let held = Holder::of(dir.path());
    let status = fs::read_to_string(format!("/proc/{}/status", held.postmaster)).unwrap();
    let line = |name: &str| -> Vec<String> {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert!(line("Uid:").iter().all(|uid| uid != "0"), "{status}");
    assert!(line("Gid:").iter().all(|gid| gid != "0"), "{status}");
    assert!(line("Groups:").iter().all(|gid| gid != "0"), "{status}");
}

#[test]
fn without_the_entry_in_main_the_guard_is_refused() {
    let dir = scratch();
    let mut cluster = Cluster::prepare(Options { guard: Guard::Reexec, ..options(dir.path()) }).unwrap();
    assert!(matches!(cluster.start(), Err(Error::GuardNotInstalled)));
}
