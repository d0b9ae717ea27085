//! Transactions of one organization.

use crate::domain::ids::OrganizationId;
use crate::domain::{Reason, Result};
use crate::store::{Pooled, Store, error};
use std::{ops::Deref, sync::Arc};
use tokio_postgres::Client;

/// How often a lost race is run.
const ATTEMPTS: u32 = 3;

/// A transaction in which row-level security shows one organization's rows and no others. Whoever holds one cannot reach another
/// organization's cold tables, and names the organization to the schema's functions by it.
#[derive(Clone)]
pub struct Tenant {
    client: Arc<Pooled>,
    organization: OrganizationId,
}

impl Tenant {
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }
}

impl Deref for Tenant {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Store {
    /// Runs `work` in a transaction of one organization, which commits when it succeeds. A lost race (serialization, deadlock) is
    /// tried again, a few times; dropping the future rolls back.
    pub async fn tenant<T, F, Work>(&self, organization: OrganizationId, work: F) -> Result<T>
    where
        F: Fn(Tenant) -> Work,
        Work: Future<Output = Result<T>>,
    {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(organization, &work).await {
                Err(error) if error.reason() == Reason::ConcurrentChange && attempts < ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }

    async fn attempt<T, F, Work>(&self, organization: OrganizationId, work: &F) -> Result<T>
    where
        F: Fn(Tenant) -> Work,
        Work: Future<Output = Result<T>>,
    {
        // In this order: the tenant's hold on the connection goes before the guard's, also when this future is dropped.
        let (mut open, tenant) = Open::new(self.conn().await?, organization);
        open.run(&begin(organization)).await.map_err(error::from_postgres)?;
        let outcome = work(tenant).await;
        let ended = open.run(if outcome.is_ok() { "commit" } else { "rollback" }).await;
        if ended.is_ok() {
            open.give_back();
        }
        match (outcome, ended) {
            (Ok(_), Err(lost)) => Err(error::from_commit(lost)),
            (outcome, _) => outcome,
        }
    }
}

fn begin(organization: OrganizationId) -> String {
    // The server ends the transaction when this process is paused in the middle: no lock outlives ten seconds.
    format!(
        "begin; select set_config('eventflow.organization_id', '{}', true), \
         set_config('idle_in_transaction_session_timeout', '10s', true)",
        organization.0
    )
}

/// A connection that may be inside a transaction. Dropped there, it is closed rather than given back, so that the server rolls
/// back.
struct Open(Option<Arc<Pooled>>);

impl Open {
    fn new(client: Pooled, organization: OrganizationId) -> (Self, Tenant) {
        let client = Arc::new(client);
        (Self(Some(client.clone())), Tenant { client, organization })
    }

    async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        match &self.0 {
            Some(client) => client.batch_execute(sql).await,
            None => Ok(()),
        }
    }

    fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(client) = self.0.take().and_then(Arc::into_inner) {
            drop(Pooled::take(client));
        }
    }
}
