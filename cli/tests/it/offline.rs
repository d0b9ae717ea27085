//! Without a broker and without a database: usage, bad settings, and whatever cannot be reached.

use std::net::TcpListener;

use crate::support::Home;

/// A port where nobody listens, on any machine.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let home = Home::new();
    for arguments in [
        &["frobnicate"][..],
        &["stream", "describe"],
        &["consume", "s", "--from", "soon"],
        &["consume", "s", "--format", "yaml"],
        &["stream", "purge", "s", "--yes"],
        &["publish", "s", "x", "--rate", "0"],
    ] {
        let ended = home.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty(), "{ended:?}");
    }
}

#[test]
fn every_mistake_of_the_configuration_is_told_at_once() {
    let home = Home::new();
    let file = home.file("bad.toml", "[server]\nlisten = \"nowhere\"\n[groups]\nlease_ttl = 5\n");
    let set = "publish.in_flight_bytes=few";
    let ended = home.run(&["serve", "--config", file.to_str().unwrap(), "--set", set]);
    assert_eq!(ended.code, 64, "{ended:?}");
    for named in ["server.listen", "groups.lease_ttl", "publish.in_flight_bytes", "database.url"] {
        assert!(ended.err.contains(named), "`{named}` is not named in: {}", ended.err);
    }
    assert!(ended.err.starts_with("error[CONFIGURATION]: the configuration has 4 mistakes\n"), "{}", ended.err);
    assert!(ended.err.contains("hint: `eventflow serve --print-config`"), "{}", ended.err);
}

#[test]
fn the_reference_of_all_settings_is_printed() {
    let ended = Home::new().run(&["serve", "--print-config"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("[database]") && ended.err.is_empty(), "{ended:?}");
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("server.listen={address}");
    let ended = Home::new().run(&["serve", "--set", &listen, "--set", "database.url=postgres://127.0.0.1:1/x"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.err.starts_with(&format!("error[PORT_TAKEN]: cannot listen on {address}\n")), "{}", ended.err);
    assert!(ended.err.contains("hint: stop what listens there"), "{}", ended.err);
}

#[test]
fn a_database_that_is_down_is_exit_code_6() {
    let home = Home::new();
    let url = format!("postgres://{NOBODY}/x");
    for verb in ["migrate", "status", "doctor"] {
        let ended = home.run(&[verb, "--database-url", &url]);
        assert_eq!(ended.code, 6, "{verb}: {ended:?}");
        assert!(
            ended.err.starts_with("error[DATABASE_UNAVAILABLE]: the database cannot be reached\n"),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("EVENTFLOW_DATABASE_URL"), "{}", ended.err);
    }
}

#[test]
fn no_postgres_to_start_is_told_before_anything_is_made() {
    let home = Home::new();
    let (dir, programs) = (home.path("dev"), home.path("no-programs"));
    let ended = home.run(&["dev", "--data-dir", dir.to_str().unwrap(), "--postgres-bin", programs.to_str().unwrap()]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.starts_with("error[POSTGRES_NOT_FOUND]: "), "{}", ended.err);
    assert!(!dir.exists());
}

#[test]
fn a_broker_that_is_not_there_is_exit_code_6_with_what_to_start() {
    let home = Home::new();
    let url = format!("eventflow://{NOBODY}");
    let ended = home.run(&["stream", "list", "--url", &url]);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.err.starts_with("error[CONNECTION_REFUSED]: "), "{}", ended.err);
    assert!(ended.err.contains("hint: start a broker with `eventflow dev`"), "{}", ended.err);
    assert!(ended.out.is_empty(), "{ended:?}");
}

#[test]
fn a_key_in_a_url_is_warned_about() {
    let url = format!("eventflow://ef_live_secret@{NOBODY}");
    let ended = Home::new().run(&["limits", "--url", &url]);
    assert!(ended.err.starts_with("warning: the API key in the URL can be read by others"), "{}", ended.err);
    assert!(!ended.err.contains("secret"), "{}", ended.err);
}

#[test]
fn every_shell_gets_a_completion() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = home.run(&["completion", shell]);
        assert!(ended.code == 0 && ended.out.contains("eventflow"), "{shell}: {ended:?}");
    }
}
