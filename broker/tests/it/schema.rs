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
    for table in [
        "event_batch",
        "event_key",
        "partition_head",
        "producer_run",
        "consumer_offset",
        "group_member",
        "group_state",
        "api_key",
        "user_account",
        "user_session",
        "refresh_token",
        "signing_key",
        "sign_in_attempt",
    ] {
        let error = client.batch_execute(&format!("select * from eventflow.{table}")).await.expect_err(table);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{table}");
    }
    // A foreign organization's cold rows are not there.
    let rows = client.query("select * from eventflow.stream", &[]).await.expect("allowed");
    assert!(rows.is_empty());
}

/// The `sql` blocks of a section of a document.
fn sql_blocks(document: &str, heading: &str) -> Vec<String> {
    let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("`{heading}` is not there"));
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```sql\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_the_readme_run_as_a_reader() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.publish("orders", 0, &["{\"total\": 7}", "not json"]).await;
    let client = ground.database.connect().await;
    let reader = format!("readme_{}", ground.database.name());
    let setup = format!(
        "create role {reader} in role eventflow_reader; \
         insert into eventflow.sql_reader select '{reader}', organization_id from eventflow.organization; \
         set session authorization {reader}"
    );
    client.batch_execute(&setup).await.expect("a reader");
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let queries: Vec<String> = sql_blocks(&readme, "Five SQL queries")
        .into_iter()
        .filter(|sql| sql.contains("eventflow.event") && !sql.contains("create role"))
        .collect();
    assert!(queries.len() >= 5, "five queries, not {}", queries.len());
    for sql in queries {
        if let Err(error) = client.batch_execute(&sql).await {
            panic!("a query of the README fails: {:?}\n{sql}", error.as_db_error());
        }
    }
    client.batch_execute(&format!("reset session authorization; drop role {reader}")).await.expect("dropped");
}

/// Tables with their columns, indexes, functions with their signatures, policies and grants, one a line.
const SNAPSHOT: &str = "
    select line from (
        select 'column ' || table_name || '.' || lpad(ordinal_position::text, 2, '0') || ' ' || column_name || ' '
               || data_type || case when is_nullable = 'NO' then ' not null' else '' end
               || coalesce(' default ' || column_default, '') as line
        from information_schema.columns where table_schema = 'eventflow'
        union all
        select 'index ' || indexdef from pg_indexes where schemaname = 'eventflow'
        union all
        select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'eventflow'::regnamespace and contype in ('c', 'f')
        union all
        select 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ') -> '
               || pg_get_function_result(p.oid) || case when p.prosecdef then ' security definer' else '' end
        from pg_proc p where p.pronamespace = 'eventflow'::regnamespace
        union all
        select 'policy ' || tablename || ' ' || policyname || ' ' || roles::text || ' ' || coalesce(qual, '')
        from pg_policies where schemaname = 'eventflow'
        union all
        select 'grant ' || grantee || ' ' || privilege_type || ' ' || table_name
        from information_schema.role_table_grants
        where table_schema = 'eventflow' and grantee in ('eventflow_broker', 'eventflow_reader')
    ) lines order by line collate \"C\"";

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_the_one_that_the_snapshot_shows() {
    let database = Database::new().await;
    let client = database.connect().await;
    let rows = client.query(SNAPSHOT, &[]).await.expect("the catalogue");
    let found: String = rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
    let path = root().join("migrations/schema.txt");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if found != kept {
        let new = std::env::temp_dir().join("eventflow-schema.txt");
        std::fs::write(&new, &found).expect("written");
        panic!("the schema differs from {}; if that is meant, copy {} over it", path.display(), new.display());
    }
}
