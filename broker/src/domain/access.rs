//! What may be done, and the one table that says who may do it.
//!
//! A key holds scopes, each everywhere or in the streams that its patterns name; a user has one role. Whatever a call asks for
//! is an [`Action`]; [`holders`] is the table; [`Authority::reach`] is the answer for one caller: nothing, everything, or some
//! streams. Only `identity` turns an answer into a proof.

use super::pattern::Pattern;
use super::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Scopes of one key, with their patterns counted singly.
pub const SCOPES_MAX: usize = 64;

/// Everything that a call may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Append events.
    Publish,
    /// Be a member of consumer groups, and commit.
    Consume,
    /// Read events without a group.
    Read,
    /// See streams, groups, members, lag and alerts: no event.
    Describe,
    /// Create, change, purge and delete streams.
    ManageStreams,
    /// Create, change, move, pause and delete consumer groups, and their alerts.
    ManageGroups,
    /// Create, look at, rotate and revoke API keys.
    ManageKeys,
    /// Invite, look at, change and remove users.
    ManageUsers,
    /// Change the organization itself.
    ManageOrganization,
    /// Read the audit log.
    ReadAudit,
    /// Manage one's own sessions and password.
    OwnAccount,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Viewer,
    Editor,
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Part of what a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Publish,
    Consume,
    Read,
    Manage,
}

/// What stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Scope(Scope),
    Role(Role),
}

/// The table: who may do it. What does not stand here is refused.
pub fn holders(action: Action) -> &'static [Holder] {
    const PUBLISH: Holder = Holder::Scope(Scope::Publish);
    const CONSUME: Holder = Holder::Scope(Scope::Consume);
    const READ: Holder = Holder::Scope(Scope::Read);
    const MANAGE: Holder = Holder::Scope(Scope::Manage);
    const VIEWER: Holder = Holder::Role(Role::Viewer);
    const EDITOR: Holder = Holder::Role(Role::Editor);
    const ADMIN: Holder = Holder::Role(Role::Admin);
    match action {
        Action::Publish => &[PUBLISH, EDITOR, ADMIN],
        Action::Consume => &[CONSUME, EDITOR, ADMIN],
        Action::Read => &[READ, VIEWER, EDITOR, ADMIN],
        // A producer must know partitions and limits, a member its group: every credential may see what it works with.
        Action::Describe => &[PUBLISH, CONSUME, READ, MANAGE, VIEWER, EDITOR, ADMIN],
        Action::ManageStreams | Action::ManageGroups => &[MANAGE, EDITOR, ADMIN],
        Action::ManageKeys => &[MANAGE, ADMIN],
        // A key that could let people in would outlive its own end.
        Action::ManageUsers | Action::ManageOrganization | Action::ReadAudit => &[ADMIN],
        Action::OwnAccount => &[VIEWER, EDITOR, ADMIN],
    }
}

impl Action {
    /// As an error names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish events",
            Self::Consume => "consume in a group",
            Self::Read => "read events",
            Self::Describe => "look at streams and groups",
            Self::ManageStreams => "manage streams",
            Self::ManageGroups => "manage consumer groups",
            Self::ManageKeys => "manage API keys",
            Self::ManageUsers => "manage users",
            Self::ManageOrganization => "manage the organization",
            Self::ReadAudit => "read the audit log",
            Self::OwnAccount => "have sessions and a password",
        }
    }

    /// Whether it is done in some stream. What is not needs a scope that is limited to none.
    fn has_a_stream(self) -> bool {
        match self {
            Self::Publish | Self::Consume | Self::Read | Self::Describe | Self::ManageStreams | Self::ManageGroups => {
                true
            }
            Self::ManageKeys | Self::ManageUsers | Self::ManageOrganization | Self::ReadAudit | Self::OwnAccount => {
                false
            }
        }
    }
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Publish, Self::Consume, Self::Read, Self::Manage];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Read => "read",
            Self::Manage => "manage",
        }
    }
}

/// In which streams something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Everywhere,
    /// In streams that one of these matches. Never empty.
    Only(Arc<[Pattern]>),
}

impl Reach {
    /// May it be done in the stream of this name?
    pub fn covers(&self, stream: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(stream)),
        }
    }

    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(mine), Self::Only(theirs)) => Self::Only(mine.iter().chain(theirs.iter()).cloned().collect()),
            _ => Self::Everywhere,
        }
    }
}

/// A scope, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub scope: Scope,
    pub reach: Reach,
}

/// What a key may do: one grant a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Arc<[Grant]>);

impl Grants {
    /// Every scope, everywhere.
    pub fn everything() -> Self {
        Self(Scope::ALL.map(|scope| Grant { scope, reach: Reach::Everywhere }).into())
    }

    /// The grants of `field`: at least one, at most [`SCOPES_MAX`] scopes and patterns together. A scope that is named twice
    /// holds where either says.
    pub fn new(field: &str, given: impl IntoIterator<Item = Grant>) -> Result<Self> {
        let mut grants: Vec<Grant> = Vec::new();
        for grant in given {
            match grants.iter_mut().find(|known| known.scope == grant.scope) {
                Some(known) => known.reach = known.reach.clone().and(&grant.reach),
                None => grants.push(grant),
            }
        }
        let grants = Self(grants.into());
        match grants.texts().len() {
            0 => Err(Error::invalid(field, "must name at least one scope: publish, consume, read or manage")),
            1..=SCOPES_MAX => Ok(grants),
            _ => Err(Error::invalid(field, format!("must be at most {SCOPES_MAX} scopes and patterns together"))),
        }
    }

    /// Reads `publish` or `publish:orders.*`, any number of each.
    pub fn parse<'a>(field: &str, texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let grants: Vec<Grant> = texts.into_iter().map(|text| parse_grant(field, text)).collect::<Result<_>>()?;
        Self::new(field, grants)
    }

    /// As they are stored: `publish`, or `publish:orders.*` for each pattern.
    pub fn texts(&self) -> Vec<String> {
        let texts = self.0.iter().flat_map(|grant| match &grant.reach {
            Reach::Everywhere => vec![grant.scope.as_str().to_owned()],
            Reach::Only(patterns) => {
                patterns.iter().map(|pattern| format!("{}:{pattern}", grant.scope.as_str())).collect()
            }
        });
        texts.collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}

fn parse_grant(field: &str, text: &str) -> Result<Grant> {
    let (scope, pattern) = match text.split_once(':') {
        Some((scope, pattern)) => (scope, Some(pattern)),
        None => (text, None),
    };
    let unknown = || Error::invalid(field, format!("`{scope}` is no scope: publish, consume, read or manage"));
    let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope).ok_or_else(unknown)?;
    let reach = match pattern {
        Some(pattern) => Reach::Only([Pattern::parse(field, pattern)?].into()),
        None => Reach::Everywhere,
    };
    Ok(Grant { scope, reach })
}

/// What a credential stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    Key(Grants),
    User(Role),
}

impl Authority {
    /// Where the action is allowed. `None`: nowhere.
    pub fn reach(&self, action: Action) -> Option<Reach> {
        let grants = match self {
            Self::User(role) => return holders(action).contains(&Holder::Role(*role)).then_some(Reach::Everywhere),
            Self::Key(grants) => grants,
        };
        let wide_enough = |grant: &&Grant| action.has_a_stream() || grant.reach == Reach::Everywhere;
        let stands = |grant: &&Grant| holders(action).contains(&Holder::Scope(grant.scope));
        let allowing = grants.iter().filter(stands).filter(wide_enough);
        allowing.fold(None, |reach: Option<Reach>, grant| {
            Some(reach.map_or_else(|| grant.reach.clone(), |reach| reach.and(&grant.reach)))
        })
    }

    /// Whether it has what the grant would give away. Patterns are compared as they are written.
    pub fn holds(&self, wanted: &Grant) -> bool {
        let grants = match self {
            Self::User(role) => return *role == Role::Admin,
            Self::Key(grants) => grants,
        };
        let held = grants.iter().find(|grant| grant.scope == wanted.scope);
        held.is_some_and(|held| match (&held.reach, &wanted.reach) {
            (Reach::Everywhere, _) => true,
            (Reach::Only(_), Reach::Everywhere) => false,
            (Reach::Only(held), Reach::Only(wanted)) => wanted.iter().all(|pattern| held.contains(pattern)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 11] = [
        Action::Publish,
        Action::Consume,
        Action::Read,
        Action::Describe,
        Action::ManageStreams,
        Action::ManageGroups,
        Action::ManageKeys,
        Action::ManageUsers,
        Action::ManageOrganization,
        Action::ReadAudit,
        Action::OwnAccount,
    ];

    fn key(texts: &[&str]) -> Authority {
        Authority::Key(Grants::parse("scopes", texts.iter().copied()).expect("scopes"))
    }

    #[test]
    fn a_key_with_every_scope_may_do_everything_everywhere_but_what_belongs_to_people() {
        for action in ACTIONS {
            let of_people = matches!(
                action,
                Action::ManageUsers | Action::ManageOrganization | Action::ReadAudit | Action::OwnAccount
            );
            let expected = (!of_people).then_some(Reach::Everywhere);
            assert_eq!(Authority::Key(Grants::everything()).reach(action), expected, "{action:?}");
        }
    }

    #[test]
    fn each_role_may_do_what_the_one_below_it_may() {
        let allowed = |role| ACTIONS.map(|action| Authority::User(role).reach(action).is_some());
        assert_eq!(allowed(Role::Viewer), [false, false, true, true, false, false, false, false, false, false, true]);
        assert_eq!(allowed(Role::Editor), [true, true, true, true, true, true, false, false, false, false, true]);
        assert_eq!(allowed(Role::Admin), [true; 11]);
    }

    #[test]
    fn a_scope_allows_its_own_actions_and_a_look_and_nothing_else() {
        for (scope, own) in [
            ("publish", vec![Action::Publish]),
            ("consume", vec![Action::Consume]),
            ("read", vec![Action::Read]),
            ("manage", vec![Action::ManageStreams, Action::ManageGroups, Action::ManageKeys]),
        ] {
            for action in ACTIONS {
                let allowed = key(&[scope]).reach(action).is_some();
                assert_eq!(allowed, own.contains(&action) || action == Action::Describe, "{scope} {action:?}");
            }
        }
    }

    #[test]
    fn a_scope_with_patterns_reaches_the_streams_that_match() {
        let reach = key(&["publish:orders.*", "publish:audit", "read"]).reach(Action::Publish).expect("allowed");
        for (stream, covered) in [("orders.eu", true), ("audit", true), ("orders", false), ("audits", false)] {
            assert_eq!(reach.covers(stream), covered, "{stream}");
        }
        let look = key(&["publish:orders.*", "consume:bills"]).reach(Action::Describe).expect("allowed");
        assert!(look.covers("orders.eu") && look.covers("bills") && !look.covers("audit"));
    }

    #[test]
    fn what_has_no_stream_needs_a_scope_without_patterns() {
        assert_eq!(key(&["manage:*"]).reach(Action::ManageKeys), None);
        assert!(key(&["manage:*"]).reach(Action::ManageStreams).is_some());
    }

    #[test]
    fn nobody_holds_more_than_they_have() {
        let held = key(&["publish", "read:a", "read:b.*"]);
        let holds = |text| held.holds(Grants::parse("scopes", [text]).expect("a scope").iter().next().expect("one"));
        for (wanted, has) in [
            ("publish", true),
            ("publish:x", true),
            ("read:a", true),
            ("read:b.*", true),
            ("read", false),
            ("read:c", false),
            ("manage:a", false),
        ] {
            assert_eq!(holds(wanted), has, "{wanted}");
        }
    }

    #[test]
    fn a_scope_everywhere_is_not_narrowed_by_the_same_scope_somewhere() {
        for texts in [["read", "read:a"], ["read:a", "read"]] {
            assert_eq!(key(&texts).reach(Action::Read), Some(Reach::Everywhere));
        }
    }

    #[test]
    fn scopes_read_back_as_they_were_written() {
        let texts = ["publish:a.*", "publish:b", "consume", "manage:c-*"];
        assert_eq!(Grants::parse("scopes", texts).expect("scopes").texts(), texts);
    }

    #[test]
    fn what_is_no_scope_is_refused_by_name() {
        let many: Vec<String> = (0..65).map(|number| format!("read:a{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for bad in [&[][..], &["admin"], &["Publish"], &["publish:"], &["publish:A"], &["publish:a b"], &[""], &many] {
            let error = Grants::parse("grants", bad.iter().copied()).expect_err("refused");
            assert_eq!(error.violations()[0].field, "grants", "{bad:?}");
        }
    }
}
