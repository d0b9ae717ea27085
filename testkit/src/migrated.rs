//! How an EventFlow database is made: the one place in the kit that knows the broker.
//!
//! Behind the feature `broker`, so that tests which only need proxies, processes or an empty database neither
//! wait for the broker to compile nor fail while it does not.

use eventflow_broker::store::DatabaseUrl;
use eventflow_broker::store::migrate::{MIGRATIONS, migrate};
use eventflow_embedded::Connection;
use tokio::sync::OnceCell;

use crate::server::Server;
use crate::template;

/// The shared server's template. A process asks once; every later test only clones.
static SHARED: OnceCell<String> = OnceCell::const_new();

/// The name of the migrated template on the shared server.
pub(crate) async fn shared_template(server: &Server) -> &'static str {
    SHARED.get_or_init(|| template_on(server)).await
}

/// The name of the migrated template on any server.
pub(crate) async fn template_on(server: &Server) -> String {
    let texts = MIGRATIONS.iter().flat_map(|(_, subject, text)| [*subject, *text]);
    template::ensure(server, template::fingerprint(texts), run).await
}

async fn run(database: Connection) {
    let url = DatabaseUrl::parse(&database.url())
        .unwrap_or_else(|error| panic!("the broker does not read `{}`: {error:?}", database.url()));
    if let Err(error) = migrate(&url).await {
        panic!("the migration failed: {error:?}");
    }
}
