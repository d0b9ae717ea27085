//! Saved contexts: private, found by themselves, never with a key from the command line.

use crate::support::{Home, ended, mode};

#[test]
fn a_context_is_remembered_in_a_private_file() {
    let home = Home::new();
    let key = home.file("key", "ef_live_0123456789ab_secret\n");
    let added =
        home.run(&["context", "add", "one", "--url", "eventflow://one:1", "--api-key-file", key.to_str().unwrap()]);
    assert_eq!(added.code, 0, "{added:?}");
    assert_eq!(mode(&home.path("config/eventflow/contexts.toml")), 0o600);
    let mut other = home.command(&["context", "add", "two", "--url", "eventflow://two:2"]);
    assert_eq!(ended(other.env("EVENTFLOW_API_KEY", "ef_live_x")).code, 0);

    assert_eq!(home.run(&["context", "use", "two"]).code, 0);
    let list = home.run(&["context", "list", "-o", "jsonl"]);
    assert_eq!(
        list.out,
        "{\"name\":\"one\",\"url\":\"eventflow://one:1\",\"current\":false,\"key\":\"ef_live_0123456789ab…\"}\n\
         {\"name\":\"two\",\"url\":\"eventflow://two:2\",\"current\":true,\"key\":\"ef_live_x…\"}\n"
    );
    assert!(!list.out.contains("secret"));
}

#[test]
fn an_unknown_context_is_exit_code_3_and_names_the_known() {
    let home = Home::new();
    home.run(&["context", "add", "one", "--url", "eventflow://one"]);
    let ended = home.run(&["limits", "--context", "uno"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.err, "error[CONTEXT_NOT_FOUND]: no context `uno`\n  hint: known are one\n");
}

#[test]
fn a_key_on_the_command_line_is_not_saved() {
    let home = Home::new();
    let ended = home.run(&["context", "add", "one", "--url", "eventflow://ef_live_secret@one"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(!home.path("config/eventflow/contexts.toml").exists());
}
