//! The schema: every statement prepares, the snapshot is true, readers see their own organization only.

use crate::support::{Clients, Ground};
use eventflow_testkit::Database;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sql_file_prepares_on_the_migrated_database() {
    let database = Database::new().await;
    let client = database.connect().await;
    client.batch_execute("set search_path = eventflow").await.expect("set");
    let mut files = Vec::new();
    for entity in std::fs::read_dir(root().join("broker/src/store/sql")).expect("the folder").flatten() {
        files.extend(std::fs::read_dir(entity.path()).expect("a folder").flatten().map(|file| file.path()));
    }
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let sql = std::fs::read_to_string(&file).expect("a file");
        if let Err(error) = client.prepare(&sql).await {
            panic!("{} does not prepare: {:?}", file.display(), error.as_db_error());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sql_reader_sees_its_own_organization_and_nothing_else() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    for organization in ["acme", "globex"] {
        let key = ground.key(organization).await;
        let mut clients = Clients::new(&app, &key).await;
        clients.create_stream("orders", 1).await;
        clients.publish("orders", 0, &[organization]).await;
    }
    let client = ground.database.connect().await;
    let reader = format!("reader_{}", ground.database.name());
    let setup = format!(
        "create role {reader} in role eventflow_reader; \
         insert into eventflow.sql_reader select '{reader}', organization_id from eventflow.organization \
         where name = 'acme'; set session authorization {reader}"
    );
    client.batch_execute(&setup).await.expect("a reader");
    let rows = client
        .query("select organization, convert_from(payload, 'UTF8') from eventflow.event", &[])
        .await
        .expect("the view");
    let seen: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(seen, [("acme".to_owned(), "acme".to_owned())]);
    for refused in [
        "select * from eventflow.api_key",
        "select * from eventflow.consumer_offset",
        "delete from eventflow.event_batch",
        "select eventflow.create_api_key_v1('globex', 'x', '', '')",
    ] {
        let error = client.batch_execute(refused).await.expect_err(refused);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{refused}");
    }
    client.batch_execute(&format!("reset session authorization; drop role {reader}")).await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_role_has_no_rights_on_hot_tables() {
    let database = Database::new().await;
    let client = database.connect().await;
    client.batch_execute("set role eventflow_broker").await.expect("the role");
    for table in
        ["event_batch", "partition_head", "producer_run", "consumer_offset", "group_member", "group_state", "api_key"]
    {
        let error = client.batch_execute(&format!("select * from eventflow.{table}")).await.expect_err(table);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{table}");
    }
    // A foreign organization's cold rows are not there.
    let rows = client.query("select * from eventflow.stream", &[]).await.expect("allowed");
    assert!(rows.is_empty());
}
