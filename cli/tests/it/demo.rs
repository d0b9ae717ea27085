//! The demonstration, with part of its data and more speed: it holds, ends by itself, and leaves nothing.

use std::fs;

use eventflow_testkit::{Process, Signal};

use crate::support::{Home, ended};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/earthquakes.csv");

fn part(home: &Home, rows: usize) -> String {
    let text = fs::read_to_string(DATA).unwrap();
    let lines: Vec<&str> = text.lines().take(rows + 1).collect();
    home.file("part.csv", &(lines.join("\n") + "\n")).display().to_string()
}

fn nothing_is_left(home: &Home) {
    let left: Vec<_> = fs::read_dir(home.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_broker_is_killed_and_everything_holds() {
    let home = Home::new();
    let data = part(&home, 6_000);
    let tmp = tmp(&home);
    let ended = ended(home.command(&["demo", "--data", &data, "--rate", "3000"]).env("TMPDIR", tmp));
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    assert!(!ended.out.contains('✗') && ended.out.contains("✓ `locators` handled 6,000 events"), "{}", ended.out);
    assert!(ended.out.contains(" refused: they revise an earthquake"), "{}", ended.out);
    nothing_is_left(&home);
}

#[tokio::test]
async fn an_interrupted_demonstration_leaves_nothing() {
    let home = Home::new();
    let data = part(&home, 6_000);
    let tmp = tmp(&home);
    let mut command = home.command(&["demo", "--data", &data, "--rate", "500"]);
    command.env("TMPDIR", tmp);
    let mut demo = Process::start(command);
    demo.wait_for_line("publishing while all groups follow").await;
    demo.signal(Signal::INT);
    assert_eq!(demo.wait().await.code(), Some(130));
    nothing_is_left(&home);
}

/// A directory for temporary files that the user `postgres` can pass through.
fn tmp(home: &Home) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let tmp = home.path("tmp");
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o711)).unwrap();
    tmp
}
