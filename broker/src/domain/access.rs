//! What may be done, and the one table that says who may do it.
//!
//! Sign-in is not built yet, so every known caller may do everything in their own organization. The shape is final: services
//! ask for an [`Action`], and only `identity` can turn the answer into a proof.

/// Everything that a call may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Publish,
    Consume,
    Read,
    ManageStreams,
    ManageGroups,
}

/// What a credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything within the organization. Keys have this scope until roles and scopes land.
    Everything,
}

/// The table: may a credential of this scope do that?
pub fn allows(scope: Scope, action: Action) -> bool {
    match (scope, action) {
        (
            Scope::Everything,
            Action::Publish | Action::Consume | Action::Read | Action::ManageStreams | Action::ManageGroups,
        ) => true,
    }
}
