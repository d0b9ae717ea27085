//! Proofs of permission: a service that takes `Granted<Publish>` cannot be called without one.

use super::Caller;
use crate::domain::{
    Error, Reason, Result,
    access::{self, Action},
    ids::OrganizationId,
};
use std::marker::PhantomData;

/// Something that a call may ask for, as a type, so that a signature can demand it.
pub trait Permission: Copy {
    const ACTION: Action;
}

/// May append events.
#[derive(Clone, Copy, Debug)]
pub struct Publish;
/// May be a member of consumer groups and commit.
#[derive(Clone, Copy, Debug)]
pub struct Consume;
/// May read events, streams, groups and their lag.
#[derive(Clone, Copy, Debug)]
pub struct Read;
/// May create, change, purge and delete streams.
#[derive(Clone, Copy, Debug)]
pub struct ManageStreams;
/// May create, change, move, pause and delete consumer groups.
#[derive(Clone, Copy, Debug)]
pub struct ManageGroups;

impl Permission for Publish {
    const ACTION: Action = Action::Publish;
}
impl Permission for Consume {
    const ACTION: Action = Action::Consume;
}
impl Permission for Read {
    const ACTION: Action = Action::Read;
}
impl Permission for ManageStreams {
    const ACTION: Action = Action::ManageStreams;
}
impl Permission for ManageGroups {
    const ACTION: Action = Action::ManageGroups;
}

/// Proof that a caller may do `P` in their organization. Only [`authorize`] makes one.
///
/// ```ignore
/// let granted = identity::authorize(&caller, identity::Publish)?;
/// publisher.publish(granted, request).await     // fn publish(&self, granted: Granted<Publish>, …)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Granted<P: Permission> {
    organization: OrganizationId,
    permission: PhantomData<P>,
}

impl<P: Permission> Granted<P> {
    /// The tenant whose objects the proof opens.
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }
}

/// Asks the one table whether `caller` may do `P`.
pub fn authorize<P: Permission>(caller: &Caller, _permission: P) -> Result<Granted<P>> {
    if access::allows(caller.scope(), P::ACTION) {
        return Ok(Granted { organization: caller.organization(), permission: PhantomData });
    }
    let key = caller.key_id();
    let message = format!("the API key `{key}` may not do this (`{:?}`); ask for a key with that scope", P::ACTION);
    Err(Error::new(Reason::PermissionDenied, message))
}
