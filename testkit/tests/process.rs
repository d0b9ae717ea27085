//! Processes: their lines, their signals, their end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use eventflow_testkit::{Process, Signal};

fn shell(script: &str) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Process::start(command)
}

#[tokio::test]
async fn lines_of_both_outputs_are_awaited_in_turn() {
    let mut process = shell("echo tick 1; echo tick 2; echo oops >&2");
    assert_eq!(process.wait_for_line("tick").await, "tick 1");
    assert_eq!(process.wait_for_line("tick").await, "tick 2");
    assert!(process.wait().await.success());
    process.wait_for_end_of_output().await;
    assert!(process.lines().contains(&"oops".to_owned()));
}

#[tokio::test]
async fn a_program_can_be_asked_and_forced_to_end() {
    // Nothing of it may go on: a child that reads for ever takes a core from all tests that follow.
    let mut process = shell("sleep 600 & trap 'kill $!; echo bye; exit 3' TERM; echo ready; wait");
    process.wait_for_line("ready").await;
    process.signal(Signal::STOP);
    process.signal(Signal::TERM);
    process.signal(Signal::CONT);
    process.wait_for_line("bye").await;
    assert_eq!(process.wait().await.code(), Some(3));

    let mut process = shell("echo ready; exec cat /dev/zero > /dev/null");
    process.wait_for_line("ready").await;
    assert_eq!(process.kill().await.signal(), Some(9));
}

#[tokio::test]
#[should_panic(expected = "wrote no line with `never`:\nsomething else")]
async fn a_missing_line_shows_what_was_written() {
    shell("echo something else").wait_for_line("never").await;
}
