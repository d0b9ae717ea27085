//! Templates: a migrated database made once per server and set of migrations, and cloned for every test.
//!
//! Many test processes want it at the same moment, so it is made under an advisory lock. Becoming a template is
//! the last step: a database of that name that is none yet was left by a process that died, and is made again.

use std::future::Future;

use eventflow_embedded::Connection;
use tokio_postgres::Client;

use crate::server::Server;
use crate::sql::connected;

/// The lock of everybody who makes a template on the same server.
const TEMPLATE_LOCK: i64 = 0x6566_7465_6d70_6c61;

/// The name of the template for `fingerprint`, made by `migrate` if it is not there yet. `migrate` gets the new
/// database's connection and must have closed its own when it returns.
pub(crate) async fn ensure<F, Fut>(server: &Server, fingerprint: u64, migrate: F) -> String
where
    F: FnOnce(Connection) -> Fut,
    Fut: Future<Output = ()>,
{
    let name = format!("eventflow_template_{fingerprint:016x}");
    // The lock is the session's: whatever happens below, it goes with the connection.
    let admin = connected(server.connection()).await;
    run(&admin, &format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await;
    if !is_template(&admin, &name).await {
        run(&admin, &format!("drop database if exists {name} with (force)")).await;
        run(&admin, &format!("create database {name} template template0")).await;
        migrate(server.connection().clone().with_database(&name)).await;
        let seal = format!("alter database {name} with allow_connections false is_template true");
        run(&admin, &seal).await;
    }
    run(&admin, &format!("select pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    name
}

/// FNV-1a over the texts that make a template what it is.
pub(crate) fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

async fn is_template(admin: &Client, name: &str) -> bool {
    let sql = "select 1 from pg_database where datname = $1 and datistemplate";
    match admin.query_opt(sql, &[&name]).await {
        Ok(row) => row.is_some(),
        Err(error) => panic!("could not look for the template `{name}`: {error:?}"),
    }
}

async fn run(admin: &Client, sql: &str) {
    if let Err(error) = admin.batch_execute(sql).await {
        panic!("`{sql}` failed: {error:?}");
    }
}
