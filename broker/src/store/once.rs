//! A change that may be asked for twice and happens once.
//!
//! The request id, the change and the answer are one transaction: either all of them are there, or none. Duplicates at the same
//! time wait for the first, and get its answer; after its failure the next one is the first.

use crate::domain::ids::OrganizationId;
use crate::domain::{Applied, Error, Reason, Result};
use crate::store::admin_requests::{self, AdminRequest, Claim};
use crate::store::{Store, Tenant};
use uuid::Uuid;

/// A request that carries its id, if it has one, and knows how its answer is kept.
#[derive(Clone, Debug)]
pub struct Once<T> {
    request: Option<AdminRequest>,
    encode: fn(&T) -> Vec<u8>,
}

impl<T> Once<T> {
    /// `fingerprint` is a hash of everything that is asked for; `encode` makes the answer that a repeat gets.
    pub fn new(id: Option<Uuid>, method: &'static str, fingerprint: [u8; 32], encode: fn(&T) -> Vec<u8>) -> Self {
        Self { request: id.map(|id| AdminRequest { id, method, fingerprint }), encode }
    }
}

/// What a request led to.
#[derive(Debug)]
pub enum Answer<T> {
    /// It was carried out just now.
    Fresh(T),
    /// It was carried out before, and this is what was answered then.
    Repeated(Vec<u8>),
}

impl<T> Answer<T> {
    /// The outcome, when it happened just now.
    pub fn fresh(&self) -> Option<&T> {
        match self {
            Self::Fresh(outcome) => Some(outcome),
            Self::Repeated(_) => None,
        }
    }
}

impl Store {
    /// Carries `work` out in one transaction of the organization, unless its request id was answered before.
    pub async fn change<T, F, Work>(&self, organization: OrganizationId, once: &Once<T>, work: F) -> Result<Answer<T>>
    where
        F: Fn(Tenant) -> Work,
        Work: Future<Output = Result<T>>,
    {
        let work = &work;
        let change = |tenant: Tenant| async move {
            let Some(request) = &once.request else {
                return Ok(Answer::Fresh(work(tenant).await?));
            };
            match admin_requests::claim(&tenant, request).await? {
                Claim::Answered(response) => Ok(Answer::Repeated(response)),
                Claim::Reused => Err(request_id_reused(request.id)),
                Claim::First => {
                    let outcome = work(tenant.clone()).await?;
                    admin_requests::answer(&tenant, request.id, &(once.encode)(&outcome)).await?;
                    Ok(Answer::Fresh(outcome))
                }
            }
        };
        self.tenant(organization, change).await
    }
}

fn request_id_reused(id: Uuid) -> Error {
    let message = format!("`request_id` `{id}` was used for a different request; make a new UUID for each request");
    Error::new(Reason::RequestIdReused, message).fact("request_id", id).applied(Applied::No)
}
