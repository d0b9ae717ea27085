//! Is this a database that keeps what it acknowledges? Asked at start and every minute.

use crate::domain::Result;
use crate::store::{Client, error::from_postgres};

/// What was found. `unsafe_settings` stops acknowledging; `warnings` are for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durability {
    pub unsafe_settings: Vec<String>,
    pub warnings: Vec<String>,
}

/// Reads the settings that decide whether a commit survives.
pub async fn check(client: &impl Client) -> Result<Durability> {
    let row = client
        .query_one(
            "select current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(), \
             current_setting('data_checksums'), current_setting('server_version_num')::integer, \
             current_setting('synchronous_commit')",
            &[],
        )
        .await
        .map_err(from_postgres)?;
    let (fsync, full_page_writes, recovery): (&str, &str, bool) = (row.get(0), row.get(1), row.get(2));
    let (checksums, version, synchronous_commit): (&str, i32, &str) = (row.get(3), row.get(4), row.get(5));
    let mut found = Durability::default();
    if fsync != "on" {
        found.unsafe_settings.push("`fsync` is off: a crash of the machine loses acknowledged events".into());
    }
    if full_page_writes != "on" {
        found.unsafe_settings.push("`full_page_writes` is off: a crash can tear pages".into());
    }
    if recovery {
        found.unsafe_settings.push("the server is in recovery (a standby): it takes no writes".into());
    }
    if version < 150_000 {
        found.unsafe_settings.push(format!("the server is version {}, EventFlow needs 15 or later", version / 10_000));
    }
    if checksums != "on" {
        found.warnings.push("data checksums are off: damaged pages are found late".into());
    }
    if matches!(synchronous_commit, "off" | "local") {
        found.warnings.push(format!(
            "`synchronous_commit` is {synchronous_commit}: appends and commits raise it to `on` for themselves"
        ));
    }
    Ok(found)
}
