//! A cluster's life: made once, resumed, refused to a second owner, and never mistaken for another version's.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::net::TcpListener;

use eventflow_embedded::{Cluster, Error, Settings, Stop};
use support::{options, query, scratch};

#[test]
fn a_second_start_resumes_the_same_data() {
    let dir = scratch();
    let mut cluster = Cluster::prepare(options(dir.path())).unwrap();
    cluster.start().unwrap();
    query(&cluster.connection(), "create table kept as select 42 as answer").unwrap();
    drop(cluster);

    let mut cluster = Cluster::prepare(options(dir.path())).unwrap();
    cluster.start().unwrap();
    let found = query(&cluster.connection(), "select answer from kept");
    assert_eq!(found.unwrap(), "42");
    let facts = "select current_setting('data_checksums') || current_setting('server_encoding') || \
                 (select datcollate from pg_database where datname = 'postgres')";
    assert_eq!(query(&cluster.connection(), facts).unwrap(), "onUTF8C");
}

#[test]
fn every_way_of_stopping_keeps_what_was_committed() {
    let dir = scratch();
    let mut cluster = Cluster::prepare(options(dir.path())).unwrap();
    cluster.start().unwrap();
    query(&cluster.connection(), "create table kept (n int)").unwrap();
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        query(&cluster.connection(), "insert into kept values (1)").unwrap();
        let before = cluster.pid();
        cluster.restart(how).unwrap();
        assert_ne!(cluster.pid(), before);
    }
    assert_eq!(query(&cluster.connection(), "select count(*) from kept").unwrap(), "3");
}

#[test]
fn a_second_owner_is_refused_with_the_first_ones_pid() {
    let dir = scratch();
    let mut cluster = Cluster::prepare(options(dir.path())).unwrap();
    cluster.start().unwrap();
    let error = Cluster::prepare(options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::AlreadyRunning { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains("already running, pid"));
}

#[test]
fn data_of_another_major_version_is_named_not_touched() {
    let dir = scratch();
    drop(Cluster::prepare(options(dir.path())).unwrap());
    let version = dir.path().join("postgres/PG_VERSION");
    fs::write(&version, "9\n").unwrap();
    let error = Cluster::prepare(options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::WrongVersion { data: 9, .. }), "{error}");
    assert_eq!(fs::read_to_string(version).unwrap(), "9\n");
}

#[test]
fn tcp_asks_for_the_password_and_a_taken_port_is_named() {
    let dir = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut with_tcp = options(dir.path());
    with_tcp.tcp_port = Some(port);
    let mut cluster = Cluster::prepare(with_tcp).unwrap();
    let error = cluster.start().unwrap_err();
    assert!(matches!(error, Error::PortTaken { port: named } if named == port));

    drop(taken);
    cluster.start().unwrap();
    let connection = cluster.tcp_connection().unwrap();
    assert_eq!(query(&connection, "select 1").unwrap(), "1");
    let mut stranger = connection;
    stranger.password = Some("wrong".into());
    assert!(query(&stranger, "select 1").is_err());
}

#[test]
fn a_refused_start_quotes_the_servers_own_words() {
    let dir = scratch();
    let mut wrong = options(dir.path());
    wrong.settings = Settings::throwaway().set("shared_buffers", "many");
    let mut cluster = Cluster::prepare(wrong).unwrap();
    let error = cluster.start().unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[test]
fn settings_reach_the_server_and_a_deep_directory_still_has_a_socket() {
    let scratch = scratch();
    let deep = scratch.path().join("d".repeat(120));
    let mut cluster = Cluster::prepare(options(&deep)).unwrap();
    *cluster.settings_mut() = Settings::throwaway().set("max_connections", "33");
    cluster.start().unwrap();
    assert_eq!(query(&cluster.connection(), "show max_connections").unwrap(), "33");
    assert_eq!(query(&cluster.connection(), "show fsync").unwrap(), "off");
    fs::remove_dir_all(cluster.connection().host).unwrap();
}
