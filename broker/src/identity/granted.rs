//! Proofs of permission: a service that takes `Granted<Publish>` cannot be called without one.

use super::{Caller, Who};
use crate::domain::{
    Applied, Error, Reason, Result,
    access::{Action, Reach},
    audit::{Actor, Target},
    ids::{OrganizationId, StreamName},
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
/// May read events without a group.
#[derive(Clone, Copy, Debug)]
pub struct Read;
/// May see streams, groups, members, lag and alerts.
#[derive(Clone, Copy, Debug)]
pub struct Describe;
/// May create, change, purge and delete streams.
#[derive(Clone, Copy, Debug)]
pub struct ManageStreams;
/// May create, change, move, pause and delete consumer groups, and their alerts.
#[derive(Clone, Copy, Debug)]
pub struct ManageGroups;
/// May create, look at, rotate and revoke API keys.
#[derive(Clone, Copy, Debug)]
pub struct ManageKeys;

/// May invite, look at, change and remove users.
#[derive(Clone, Copy, Debug)]
pub struct ManageUsers;

/// May change the organization itself.
#[derive(Clone, Copy, Debug)]
pub struct ManageOrganization;

/// May read the audit log.
#[derive(Clone, Copy, Debug)]
pub struct ReadAudit;

/// May manage their own sessions and password.
#[derive(Clone, Copy, Debug)]
pub struct OwnAccount;

impl Permission for Publish {
    const ACTION: Action = Action::Publish;
}
impl Permission for Consume {
    const ACTION: Action = Action::Consume;
}
impl Permission for Read {
    const ACTION: Action = Action::Read;
}
impl Permission for Describe {
    const ACTION: Action = Action::Describe;
}
impl Permission for ManageStreams {
    const ACTION: Action = Action::ManageStreams;
}
impl Permission for ManageGroups {
    const ACTION: Action = Action::ManageGroups;
}
impl Permission for ManageKeys {
    const ACTION: Action = Action::ManageKeys;
}

impl Permission for ManageUsers {
    const ACTION: Action = Action::ManageUsers;
}
impl Permission for ManageOrganization {
    const ACTION: Action = Action::ManageOrganization;
}
impl Permission for ReadAudit {
    const ACTION: Action = Action::ReadAudit;
}
impl Permission for OwnAccount {
    const ACTION: Action = Action::OwnAccount;
}

/// Proof that a caller may do `P` in their organization, in the streams that it covers. Only [`authorize`] makes one, and
/// [`granted_to_rules`] for what the broker does by itself. Whatever is
/// refused, here or by the proof, goes to the audit log.
///
/// ```ignore
/// let granted = identity::authorize(&caller, identity::Publish)?;
/// publisher.publish(&granted, request).await     // fn publish(&self, granted: &Granted<Publish>, …)
/// ```
///
/// The catalogue gives out streams and groups only for a proof that covers them, so that a service cannot forget to ask.
#[derive(Clone, Debug)]
pub struct Granted<P: Permission> {
    by: Caller,
    reach: Reach,
    permission: PhantomData<P>,
}

impl<P: Permission> Granted<P> {
    /// The tenant whose objects the proof opens.
    pub fn organization(&self) -> OrganizationId {
        self.by.organization()
    }

    /// Who has it, for the audit log.
    pub fn actor(&self) -> Actor {
        self.by.actor()
    }

    /// Whether it is the broker itself, for the rules of an organization.
    pub fn is_of_rules(&self) -> bool {
        self.by.who() == Who::Rules
    }

    /// Whether the proof holds in this stream.
    pub fn covers(&self, stream: &StreamName) -> bool {
        self.reach.covers(stream.as_str())
    }

    /// Refuses unless the proof holds in this stream. Asked before anything is looked up: the answer does not tell whether the
    /// stream exists.
    pub fn check(&self, stream: &StreamName) -> Result<()> {
        if self.covers(stream) {
            return Ok(());
        }
        let message = format!(
            "this credential may not {} in stream `{stream}`; ask for a key whose scope covers it",
            P::ACTION.as_str()
        );
        let refusal = Error::new(Reason::PermissionDenied, message).fact("stream", stream).applied(Applied::No);
        Err(self.by.note(refusal, &Target::stream(stream).object))
    }
}

/// Proof for the rules of an organization, which the broker carries out: whoever set them up was asked for theirs. It reaches every
/// stream of that organization, and nothing of another.
pub fn granted_to_rules<P: Permission>(organization: OrganizationId, _permission: P) -> Granted<P> {
    Granted { by: Caller::rules(organization), reach: Reach::Everywhere, permission: PhantomData }
}

/// Whether the caller may also do `P` in this stream, so that more is shown. A no is no refusal, and leaves no entry.
pub fn may<P: Permission>(caller: &Caller, _permission: P, stream: &StreamName) -> bool {
    caller.authority().reach(P::ACTION).is_some_and(|reach| reach.covers(stream.as_str()))
}

/// Asks the one table whether `caller` may do `P`, and where.
pub fn authorize<P: Permission>(caller: &Caller, _permission: P) -> Result<Granted<P>> {
    match caller.authority().reach(P::ACTION) {
        Some(reach) => Ok(Granted { by: caller.clone(), reach, permission: PhantomData }),
        None => Err(caller.note(denied(caller, P::ACTION), "")),
    }
}

fn denied(caller: &Caller, action: Action) -> Error {
    let action = action.as_str();
    let message = match caller.who() {
        Who::Key(key) => format!("the API key `{key}` may not {action}; ask for a key with that scope"),
        Who::Rules => format!("rules may not {action}"),
        Who::User { .. } => format!("your role does not allow you to {action}; ask an admin"),
    };
    Error::new(Reason::PermissionDenied, message).applied(Applied::No)
}
