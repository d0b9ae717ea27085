//! A change that may be asked for twice and happens once.
//!
//! The request id, the change, its entry in the audit log and the answer are one transaction: either all of them are there, or none. Duplicates at the same
//! time wait for the first, and get its answer; after its failure the next one is the first.

use crate::domain::audit::{Actor, Target};
use crate::domain::{Applied, Error, Reason, Result};
use crate::store::admin_requests::{self, AdminRequest, Claim};
use crate::store::{Store, Tenant, audit};
use uuid::Uuid;

/// A request that carries its id, if it has one, and knows how its answer is kept.
#[derive(Clone, Debug)]
pub struct Once<T> {
    request: Option<AdminRequest>,
    method: &'static str,
    encode: fn(&T) -> Vec<u8>,
}

impl<T> Once<T> {
    /// `fingerprint` is a hash of everything that is asked for; `encode` makes the answer that a repeat gets.
    pub fn new(id: Option<Uuid>, method: &'static str, fingerprint: [u8; 32], encode: fn(&T) -> Vec<u8>) -> Self {
        Self { request: id.map(|id| AdminRequest { id, method, fingerprint }), method, encode }
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
    /// Carries `work` out in one transaction of the actor's organization, unless its request id was answered before. The audit log
    /// says what it was done to.
    pub async fn change<T, F, Work>(
        &self,
        by: Actor,
        once: &Once<T>,
        target: impl Fn(&T) -> Target,
        work: F,
    ) -> Result<Answer<T>>
    where
        F: Fn(Tenant) -> Work,
        Work: Future<Output = Result<T>>,
    {
        let (by, work, target) = (&by, &work, &target);
        let carry_out = |tenant: Tenant| async move {
            let outcome = work(tenant.clone()).await?;
            audit::record(&tenant, by, once.method, &target(&outcome)).await?;
            Ok(outcome)
        };
        let carry_out = &carry_out;
        let change = |tenant: Tenant| async move {
            let Some(request) = &once.request else {
                return Ok(Answer::Fresh(carry_out(tenant).await?));
            };
            match admin_requests::claim(&tenant, request).await? {
                Claim::Answered(response) => Ok(Answer::Repeated(response)),
                Claim::Reused => Err(request_id_reused(request.id)),
                Claim::First => {
                    let outcome = carry_out(tenant.clone()).await?;
                    admin_requests::answer(&tenant, request.id, &(once.encode)(&outcome)).await?;
                    Ok(Answer::Fresh(outcome))
                }
            }
        };
        self.tenant(by.organization, change).await
    }
}

fn request_id_reused(id: Uuid) -> Error {
    let message = format!("`request_id` `{id}` was used for a different request; make a new UUID for each request");
    Error::new(Reason::RequestIdReused, message).fact("request_id", id).applied(Applied::No)
}
