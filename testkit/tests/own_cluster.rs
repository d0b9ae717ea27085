//! A cluster of one's own: what survives which end, silence, and failover.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::time::Duration;

use eventflow_testkit::{OwnCluster, Settings, SmallDisk, Stop, within};

async fn count(cluster: &OwnCluster) -> i64 {
    let client = cluster.connect().await;
    let row = client.query_one("select count(*) from kept", &[]).await;
    row.unwrap().get(0)
}

async fn write(cluster: &OwnCluster, sql: &str) {
    cluster.connect().await.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn it_comes_back_at_the_same_address_after_every_end() {
    let cluster = OwnCluster::new().await;
    write(&cluster, "create table kept (n int)").await;
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        write(&cluster, "insert into kept values (1)").await;
        cluster.restart(how).await;
    }
    assert_eq!(count(&cluster).await, 3);
}

#[tokio::test]
async fn a_frozen_server_says_nothing_until_it_is_thawed() {
    let cluster = OwnCluster::with_settings(Settings::throwaway()).await;
    let client = cluster.connect().await;
    let row = client.query_one("select pg_backend_pid()", &[]).await;
    let backend: i32 = row.unwrap().get(0);
    cluster.freeze().await;
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).unwrap();
    assert!(stat.contains("(postgres) T "), "{stat}");
    let query = client.query_one("select 1", &[]);
    cluster.thaw().await;
    within("the answer of a thawed server", query).await.unwrap();
}

#[tokio::test]
async fn terminated_sessions_are_counted_and_gone() {
    let cluster = OwnCluster::with_settings(Settings::throwaway()).await;
    let client = cluster.connect().await;
    client.batch_execute("set application_name = 'victim'").await.unwrap();
    let ended = cluster.terminate_backends("application_name = 'victim'").await;
    assert_eq!(ended, 1);
    assert!(client.batch_execute("select 1").await.is_err());
}

#[tokio::test]
async fn a_promoted_standby_has_what_it_had_seen_and_takes_writes() {
    let primary = OwnCluster::with_settings(Settings::throwaway()).await;
    write(&primary, "create table kept (n int); insert into kept values (1)").await;
    let standby = primary.standby().await;
    write(&primary, "insert into kept values (2)").await;
    standby.catch_up_with(&primary).await;
    primary.stop(Stop::Kill).await;
    standby.promote().await;
    write(&standby, "insert into kept values (3)").await;
    assert_eq!(count(&standby).await, 3);
}

#[tokio::test]
async fn a_commit_waits_for_a_synchronous_standby() {
    let primary = OwnCluster::with_settings(Settings::throwaway()).await;
    write(&primary, "create table kept (n int)").await;
    let standby = primary.standby().await;
    primary.wait_for_standbys().await;
    write(&primary, "insert into kept values (1)").await;
    standby.stop(Stop::Kill).await;
    let alone = tokio::time::timeout(Duration::from_millis(300), write(&primary, "insert into kept values (2)")).await;
    assert!(alone.is_err(), "nobody has flushed it");
    standby.start().await;
    write(&primary, "insert into kept values (3)").await;
    standby.catch_up_with(&primary).await;
    assert_eq!(count(&standby).await, count(&primary).await);
}

#[tokio::test]
async fn a_small_disk_is_full_until_it_grows() {
    let Some(disk) = SmallDisk::mount(1) else {
        let _ = writeln!(std::io::stderr(), "a_small_disk ... skipped: cannot mount a small file system here");
        return;
    };
    let file = disk.path().join("file");
    assert!(std::fs::write(&file, vec![1; 2 << 20]).is_err());
    disk.grow(4);
    std::fs::write(&file, vec![1; 2 << 20]).unwrap();
    let path = disk.path().to_owned();
    drop(disk);
    assert!(!path.exists());
}
