//! Databases: each test its own, one template for many processes, nothing left behind.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and spawn")]

use std::sync::atomic::{AtomicU64, Ordering};

use eventflow_testkit::{Connection, Database};
use tokio_postgres::NoTls;

async fn run(database: &Connection, sql: &str) {
    let (client, driver) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    // Returns when the session is closed, as a template's migration must.
    let (result, _) = tokio::join!(
        async move {
            let client = client;
            client.batch_execute(sql).await
        },
        driver
    );
    result.unwrap();
}

#[tokio::test]
async fn two_databases_of_one_template_do_not_see_each_other() {
    let unique = uuid::Uuid::new_v4().to_string();
    let migrations = ["create table t (n int)", unique.as_str()];
    let migrated = AtomicU64::new(0);
    let make = || {
        Database::migrated_by(&migrations, async |database: Connection| {
            migrated.fetch_add(1, Ordering::Relaxed);
            run(&database, migrations[0]).await;
        })
    };
    let (one, other) = tokio::join!(make(), make());
    assert_eq!(migrated.load(Ordering::Relaxed), 1);

    one.connect().await.batch_execute("insert into t values (1)").await.unwrap();
    let count = "select count(*) from t";
    let row = other.connect().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_with_sessions_in_it() {
    let kept = Database::empty().await;
    let dropped = Database::empty().await;
    let _session = dropped.connect().await;
    let name = dropped.name().to_owned();
    drop(dropped);
    let sql = "select count(*) from pg_database where datname = $1";
    let row = kept.connect().await.query_one(sql, &[&name]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_half_made_template_is_made_again() {
    let unique = uuid::Uuid::new_v4().to_string();
    let texts = [unique.as_str()];
    let died = tokio::spawn({
        let unique = unique.clone();
        async move { Database::migrated_by(&[unique.as_str()], async |_| panic!("a migration that dies")).await }
    });
    assert!(died.await.is_err());
    let database = Database::migrated_by(&texts, async |database| {
        run(&database, "create table whole ()").await;
    })
    .await;
    let client = database.connect().await;
    client.batch_execute("table whole").await.unwrap();
}
