//! Databases as the broker makes them, on the shared server and on one's own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use eventflow_testkit::{Database, OwnCluster, Settings};

async fn is_migrated(database: &Database) -> bool {
    let sql = "select count(*) > 0 from eventflow.schema_migration";
    let row = database.connect().await.query_one(sql, &[]).await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn a_new_database_is_migrated_and_nobody_elses() {
    let (one, other) = tokio::join!(Database::new(), Database::new());
    assert_ne!(one.name(), other.name());
    assert!(is_migrated(&one).await && is_migrated(&other).await);
}

#[tokio::test]
async fn a_cluster_of_ones_own_has_migrated_databases_too() {
    let cluster = OwnCluster::with_settings(Settings::throwaway()).await;
    assert!(is_migrated(&cluster.database().await).await);
}
