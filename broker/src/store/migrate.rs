//! Migrations: numbered files, forward only, each in a transaction of its own, under an advisory lock.
//!
//! The schema stores its version and the oldest broker that may use it. A broker refuses an older schema, and a newer one only
//! when the broker is older than that mark: old and new brokers run side by side during an upgrade. It also stores a checksum of
//! each file: files of a release never change, so another one means another history, and nothing is done with such a schema.

use crate::domain::{Error, Reason, Result};
use crate::store::{DatabaseUrl, error::from_postgres};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Number, subject and text of every migration, in order.
pub const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "tenancy", include_str!("../../../migrations/0001_tenancy.sql")),
    (2, "log", include_str!("../../../migrations/0002_log.sql")),
    (3, "append", include_str!("../../../migrations/0003_append.sql")),
    (4, "read", include_str!("../../../migrations/0004_read.sql")),
    (5, "catalogue", include_str!("../../../migrations/0005_catalogue.sql")),
    (6, "groups", include_str!("../../../migrations/0006_groups.sql")),
    (7, "progress", include_str!("../../../migrations/0007_progress.sql")),
    (8, "log_epoch", include_str!("../../../migrations/0008_log_epoch.sql")),
    (9, "rights", include_str!("../../../migrations/0009_rights.sql")),
    (10, "outcomes", include_str!("../../../migrations/0010_outcomes.sql")),
    (11, "retries", include_str!("../../../migrations/0011_retries.sql")),
    (12, "dead_letters", include_str!("../../../migrations/0012_dead_letters.sql")),
    (13, "segments", include_str!("../../../migrations/0013_segments.sql")),
    (14, "key_order", include_str!("../../../migrations/0014_key_order.sql")),
    (20, "schemas", include_str!("../../../migrations/0020_schemas.sql")),
    (21, "keys", include_str!("../../../migrations/0021_keys.sql")),
    (22, "filters", include_str!("../../../migrations/0022_filters.sql")),
    (23, "explain", include_str!("../../../migrations/0023_explain.sql")),
    (25, "rules", include_str!("../../../migrations/0025_rules.sql")),
    (26, "alerts", include_str!("../../../migrations/0026_alerts.sql")),
    (30, "identity", include_str!("../../../migrations/0030_identity.sql")),
    (31, "users", include_str!("../../../migrations/0031_users.sql")),
    (32, "audit", include_str!("../../../migrations/0032_audit.sql")),
    (33, "registration", include_str!("../../../migrations/0033_registration.sql")),
    (34, "resets", include_str!("../../../migrations/0034_resets.sql")),
    (40, "quotas", include_str!("../../../migrations/0040_quotas.sql")),
];

/// The schema version that this broker needs at least.
pub const SCHEMA_NEEDED: i32 = 40;
/// The generation of this broker, compared with the schema's `oldest_broker`. Raised when a migration drops what older brokers use.
pub const BROKER_GENERATION: i32 = 1;
/// The oldest broker generation that may use the schema as these migrations leave it.
const OLDEST_BROKER: i32 = 1;

/// One lock for all migrations of a database.
const LOCK: i64 = 0x6566_6d69_6772;

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    pub from: i32,
    pub to: i32,
}

/// Connects as the migrating user, who needs CREATE on the database and CREATEROLE (or the three roles made beforehand, with
/// membership in `eventflow_owner`), makes the roles, and applies what is missing.
pub async fn migrate(url: &DatabaseUrl) -> Result<Migrated> {
    let (mut client, connection) = url.config().connect(url.tls()?).await.map_err(crate::store::error::unavailable)?;
    #[expect(clippy::disallowed_methods, reason = "the driver ends with the client, at the end of this function")]
    let driver = tokio::spawn(connection);
    client.batch_execute("set client_min_messages = warning").await.map_err(from_postgres)?;
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(from_postgres)?;
    let outcome = apply(&mut client).await;
    drop(client);
    let _ = driver.await;
    outcome
}

async fn apply(client: &mut Client) -> Result<Migrated> {
    prepare(client).await?;
    let from = version(client).await?;
    check_files(client, from).await?;
    for (number, subject, text) in MIGRATIONS.iter().filter(|(number, ..)| *number > from) {
        let transaction = client.transaction().await.map_err(from_postgres)?;
        let script = format!("set local role eventflow_owner; set local search_path = eventflow;\n{text}");
        transaction.batch_execute(&script).await.map_err(|error| failed(*number, subject, error))?;
        transaction
            .execute(
                "insert into eventflow.schema_migration (version, subject, oldest_broker, checksum) values ($1, $2, $3, $4)",
                &[number, subject, &OLDEST_BROKER, &checksum(text)],
            )
            .await
            .map_err(|error| failed(*number, subject, error))?;
        transaction.commit().await.map_err(|error| failed(*number, subject, error))?;
        tracing::info!(version = number, subject, "migrated");
    }
    let to = version(client).await?;
    Ok(Migrated { from, to })
}

/// Roles, schema and the table of migrations. Roles belong to the whole server, so another database may have made them.
async fn prepare(client: &Client) -> Result<()> {
    let script = "
        do $$
        declare
            v_role text;
        begin
            foreach v_role in array array['eventflow_owner', 'eventflow_broker', 'eventflow_reader'] loop
                if not exists (select from pg_roles where rolname = v_role) then
                    begin
                        execute format('create role %I nologin', v_role);
                    exception when duplicate_object or unique_violation then
                        null;
                    end;
                end if;
            end loop;
            -- Being a member is not enough since Postgres 16: what counts is whether the role can be taken on.
            foreach v_role in array array['eventflow_owner', 'eventflow_broker'] loop
                begin
                    execute format('set local role %I', v_role);
                    reset role;
                exception when insufficient_privilege then
                    execute format('grant %I to %I', v_role, current_user);
                end;
            end loop;
        end
        $$;
        do $$
        begin
            if not exists (select from pg_namespace where nspname = 'eventflow') then
                execute 'create schema eventflow authorization eventflow_owner';
            end if;
        end
        $$;
        set role eventflow_owner;
        create table if not exists eventflow.schema_migration (
            version integer primary key,
            subject text not null,
            oldest_broker integer not null,
            applied_at timestamptz not null default clock_timestamp()
        );
        alter table eventflow.schema_migration add column if not exists checksum text;
        grant usage on schema eventflow to eventflow_broker;
        grant select on eventflow.schema_migration to eventflow_broker;
        reset role;";
    client.batch_execute(script).await.map_err(|error| {
        if error.code().is_some_and(|code| code.code() == "42501") {
            Error::new(
                Reason::PermissionDenied,
                "the migrating user needs CREATE on the database and CREATEROLE, or the roles `eventflow_owner`, \
                 `eventflow_broker` and `eventflow_reader` made beforehand with membership in the first two",
            )
            .source(error)
        } else {
            from_postgres(error)
        }
    })
}

async fn version(client: &Client) -> Result<i32> {
    let row = client
        .query_one("select coalesce(max(version), 0) from eventflow.schema_migration", &[])
        .await
        .map_err(from_postgres)?;
    Ok(row.get(0))
}

fn checksum(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// That the schema was made from these very files, as far as both go.
async fn check_files(client: &impl crate::store::Client, version: i32) -> Result<()> {
    // A table of before has no checksums.
    let sql = "select version, to_jsonb(m) ->> 'checksum' from eventflow.schema_migration m";
    let rows = client.query(sql, &[]).await.map_err(from_postgres)?;
    let applied: BTreeMap<i32, Option<String>> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (number, subject, text) in MIGRATIONS.iter().filter(|(number, ..)| *number <= version) {
        if applied.get(number).is_none_or(|applied| applied.as_deref() != Some(&checksum(text))) {
            return Err(Error::new(
                Reason::DatabaseUnavailable,
                format!(
                    "migration {number} ({subject}) of this database is not that of this version: the schema was made by a \
                     build that was not released. Make a new database; this one stays as it is"
                ),
            ));
        }
    }
    Ok(())
}

fn failed(number: i32, subject: &str, error: tokio_postgres::Error) -> Error {
    let position = match error.as_db_error() {
        Some(db) => format!("{} {}", db.message(), db.where_().unwrap_or_default()),
        None => error.to_string(),
    };
    Error::new(Reason::Internal, format!("migration {number:04}_{subject} failed and was rolled back: {position}"))
        .source(error)
}

/// Whether this broker may use the schema: neither too old a schema, nor one that has left this broker behind.
pub async fn check_version(client: &impl crate::store::Client) -> Result<()> {
    let missing = |found: i32| {
        Error::new(
            Reason::DatabaseUnavailable,
            format!(
                "the database schema has version {found}, this broker needs {SCHEMA_NEEDED}; run `eventflow migrate`"
            ),
        )
    };
    let exists = client
        .query_one("select to_regclass('eventflow.schema_migration') is not null", &[])
        .await
        .map_err(from_postgres)?;
    if !exists.get::<_, bool>(0) {
        return Err(missing(0));
    }
    let row = client
        .query_one(
            "select coalesce(max(version), 0), coalesce(max(oldest_broker), 0) from eventflow.schema_migration",
            &[],
        )
        .await
        .map_err(from_postgres)?;
    let (version, oldest_broker): (i32, i32) = (row.get(0), row.get(1));
    if version < SCHEMA_NEEDED {
        return Err(missing(version));
    }
    if oldest_broker > BROKER_GENERATION {
        return Err(Error::new(
            Reason::DatabaseUnavailable,
            format!(
                "the database schema (version {version}) needs brokers of generation {oldest_broker} or later, this one \
                 is {BROKER_GENERATION}; upgrade it"
            ),
        ));
    }
    check_files(client, version).await
}
