//! Short-lived superuser connections, for the kit's own housekeeping.

use eventflow_embedded::Connection;
use tokio_postgres::{Client, NoTls};

/// Connects, with the connection driven by a task that ends with the client.
pub(crate) async fn connect(connection: &Connection) -> Result<Client, tokio_postgres::Error> {
    let (client, driver) = tokio_postgres::connect(&connection.url(), NoTls).await?;
    tokio::spawn(async move {
        // A cut connection is what many tests are about; the client reports it to whoever uses it.
        let _ = driver.await;
    });
    Ok(client)
}

/// Connects or panics: a test without its database cannot go on.
pub(crate) async fn connected(connection: &Connection) -> Client {
    connect(connection).await.unwrap_or_else(|error| panic!("could not connect to `{}`: {error:?}", connection.url()))
}
