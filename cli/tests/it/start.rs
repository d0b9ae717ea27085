//! Whatever can be wrong when a broker starts: a sentence, a hint, an exit code, and nothing left behind.

use std::{fs, net::TcpListener};

use eventflow_testkit::Database;

use crate::{
    dev::Dev,
    support::{Ended, Home},
};

/// `serve` on ports of its own.
fn serve(home: &Home, database_url: &str) -> Ended {
    let url = format!("database.url={database_url}");
    let set = [url.as_str(), "server.listen=127.0.0.1:0", "http.listen=127.0.0.1:0"];
    let mut arguments = vec!["serve", "--allow-unsafe-durability"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    home.run(&arguments)
}

#[track_caller]
fn assert_told(ended: &Ended, code: i32, beginning: &str, hint: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    // Logs may stand before it.
    let told = ended.err.find("error[").map_or("", |at| &ended.err[at..]);
    assert!(told.starts_with(beginning), "{}", ended.err);
    assert!(told.contains(hint), "`{hint}` is not in: {}", ended.err);
    assert!(ended.out.is_empty(), "{ended:?}");
}

#[test]
fn a_database_that_is_down_stops_serve() {
    let ended = serve(&Home::new(), "postgres://127.0.0.1:1/x");
    let beginning = "error[DATABASE_UNAVAILABLE]: the database cannot be reached\n";
    assert_told(&ended, 6, beginning, "hint: check that Postgres runs there");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named() {
    let database = Database::empty().await;
    let url = database.url().replace(database.name(), "no_such_database");
    let ended = serve(&Home::new(), &url);
    assert_told(&ended, 6, "error[DATABASE_UNAVAILABLE]: ", "database \"no_such_database\" does not exist");
    assert!(ended.err.contains("hint: create what is missing"), "{}", ended.err);
}

#[tokio::test]
async fn a_schema_that_is_too_old_or_too_new_is_told_with_what_to_run() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    let migrate = ["migrate", "--database-url", &url];
    assert_eq!(home.run(&migrate).code, 0);
    let client = database.connect().await;
    let later = "insert into eventflow.schema_migration (version, subject, oldest_broker) values (999, 'later', 999)";
    client.batch_execute(later).await.unwrap();
    assert_told(&serve(&home, &url), 6, "error[DATABASE_UNAVAILABLE]: the database schema (version 999)", "upgrade it");
    // It does not take a step back.
    let ended = home.run(&migrate);
    assert!(ended.code == 0 && ended.out.contains("is up to date (schema version 999)"), "{ended:?}");

    let delete = "delete from eventflow.schema_migration where version > 3";
    client.batch_execute(delete).await.unwrap();
    assert_told(&serve(&home, &url), 6, "error[DATABASE_UNAVAILABLE]: the database schema", "run `eventflow migrate`");
}

#[tokio::test]
async fn a_schema_made_from_other_files_is_left_alone() {
    let (home, database) = (Home::new(), Database::empty().await);
    let url = database.url();
    let migrate = ["migrate", "--database-url", &url];
    assert_eq!(home.run(&migrate).code, 0);
    let client = database.connect().await;
    let told = "error[DATABASE_UNAVAILABLE]: migration 2 (log) of this database is not that of this version";
    for other in [
        "update eventflow.schema_migration set checksum = 'other' where version = 2",
        "delete from eventflow.schema_migration where version = 2",
        // As builds left it that knew no checksums.
        "alter table eventflow.schema_migration drop column checksum",
    ] {
        client.batch_execute(other).await.unwrap();
        let told = if other.starts_with("alter") { told.replace("2 (log)", "1 (tenancy)") } else { told.to_owned() };
        assert_told(&serve(&home, &url), 6, &told, "Make a new database");
        assert_told(&home.run(&migrate), 6, &told, "Make a new database");
    }
}

#[test]
fn data_of_another_postgres_is_not_touched() {
    let home = Home::new();
    fs::create_dir_all(home.path("dev/postgres")).unwrap();
    let version = home.file("dev/postgres/PG_VERSION", "9\n");
    let ended = home.run(&["dev", "--data-dir", home.path("dev").to_str().unwrap()]);
    assert_told(&ended, 5, "error[POSTGRES_VERSION]: ", "was written by Postgres 9, installed is");
    assert!(ended.err.contains("or choose another directory"), "{}", ended.err);
    assert_eq!(fs::read_to_string(version).unwrap(), "9\n");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let home = Home::new();
    let file = home.file("file", "");
    let ended = home.run(&["dev", "--data-dir", file.join("dev").to_str().unwrap()]);
    assert_told(&ended, 1, "error[POSTGRES_FAILED]: could not create", file.to_str().unwrap());
}

#[test]
fn a_port_that_is_taken_stops_dev_before_postgres_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new();
    let ended = home.run(&["dev", "--data-dir", home.path("dev").to_str().unwrap(), "--listen", &address]);
    assert_told(
        &ended,
        5,
        &format!("error[PORT_TAKEN]: cannot listen on {address}\n"),
        "another address with --listen",
    );
    assert!(!home.path("dev/postgres/postmaster.pid").exists());
}

#[tokio::test]
async fn tls_against_a_plaintext_broker_is_told_and_stops_nobody() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let ended = home.run(&["stream", "list", "--url", &format!("eventflow://{}?tls=on", dev.listen)]);
    assert_told(&ended, 6, "error[SERVER_SPEAKS_PLAINTEXT]: ", "hint: add `?tls=off` to the URL");
    let other = home.run(&["stream", "list"]);
    assert_eq!(other.code, 0, "{other:?}");
    dev.stop().await;
}
