//! How an EventFlow database is made: the one place in the kit that knows.
//!
//! For now it runs the files of `migrations/` in the order of their names. When `eventflow_broker::migrate`
//! stands, its call goes here, and nothing else in the kit changes.

use std::fs;
use std::path::Path;

use eventflow_embedded::Connection;
use tokio::sync::OnceCell;

use crate::server::Server;
use crate::sql::connected;
use crate::template;

/// The shared server's template. A process asks once; every later test only clones.
static SHARED: OnceCell<String> = OnceCell::const_new();

/// The name of the migrated template on the shared server.
pub(crate) async fn shared_template(server: &Server) -> &'static str {
    SHARED.get_or_init(|| template_on(server)).await
}

/// The name of the migrated template on any server.
pub(crate) async fn template_on(server: &Server) -> String {
    let files = files();
    let texts = files
        .iter()
        .flat_map(|(name, sql)| [name.as_str(), sql.as_str()]);
    let fingerprint = template::fingerprint(texts);
    template::ensure(server, fingerprint, |database| migrate(database, &files)).await
}

async fn migrate(database: Connection, files: &[(String, String)]) {
    let client = connected(&database).await;
    for (name, sql) in files {
        if let Err(error) = client.batch_execute(sql).await {
            panic!("migration `{name}` failed: {error:?}");
        }
    }
}

/// Numbered files only: `schema.sql` is a snapshot of their result.
fn files() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let entries = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("could not list `{}`: {error}", dir.display()));
    let mut files: Vec<(String, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let numbered = name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".sql");
            numbered.then_some(())?;
            Some((name, fs::read_to_string(entry.path()).ok()?))
        })
        .collect();
    files.sort();
    files
}
