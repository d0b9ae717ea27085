//! The audit log: who did what to which object, from where, with which result. It never holds a secret: an entry is made of ids,
//! names and words of ours, not of what a request says.

use super::ids::{AlertName, GroupName, OrganizationId, RuleName, StreamName};
use super::{Error, Result};
use std::sync::Arc;

/// What is longer is cut: names are at most so long, and schemas of long event types can still be told apart.
const TEXT_CHARACTERS_MAX: usize = 256;

/// A call, and where it comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub request_id: Arc<str>,
    /// `eventflow.v1.StreamService/CreateStream`.
    pub method: Arc<str>,
    /// Of the connection, without the port.
    pub address: Arc<str>,
}

impl Origin {
    /// What is done, as the log says it: the RPC without its service.
    pub fn action(&self) -> &str {
        self.method.rsplit('/').next().unwrap_or_default()
    }
}

/// Somebody who does something.
#[derive(Clone, Debug)]
pub struct Actor {
    pub organization: OrganizationId,
    /// `key:` or `user:` and an id.
    pub name: Arc<str>,
    pub origin: Origin,
}

/// What something is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub object: String,
    pub detail: String,
}

impl Target {
    fn new(kind: &str, name: impl std::fmt::Display) -> Self {
        Self { object: cut(&format!("{kind}:{name}")), detail: String::new() }
    }

    pub fn stream(name: &StreamName) -> Self {
        Self::new("stream", name)
    }

    pub fn group(name: &GroupName) -> Self {
        Self::new("group", name)
    }

    /// Of a stream's events of one type; empty is all of them.
    pub fn schema(stream: &StreamName, event_type: &str) -> Self {
        let name = if event_type.is_empty() { stream.to_string() } else { format!("{stream}/{event_type}") };
        Self::new("schema", name)
    }

    /// Of a stream.
    pub fn rule(stream: &StreamName, name: &RuleName) -> Self {
        Self::new("rule", format!("{stream}/{name}"))
    }

    /// Of a consumer group.
    pub fn alert(group: &GroupName, name: &AlertName) -> Self {
        Self::new("alert", format!("{group}/{name}"))
    }

    pub fn organization(name: &str) -> Self {
        Self::new("organization", name)
    }

    pub fn key(id: impl std::fmt::Display) -> Self {
        Self::new("key", id)
    }

    pub fn user(id: impl std::fmt::Display) -> Self {
        Self::new("user", id)
    }

    /// What there is to say about how it was done.
    #[must_use]
    pub fn saying(self, detail: impl AsRef<str>) -> Self {
        Self { detail: cut(detail.as_ref()), ..self }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    /// Somebody who is known may not.
    Refused,
    /// Somebody could not show who they are.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// An entry. Times are microseconds since 1970, by the database.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    pub id: i64,
    pub occurred_at: i64,
    pub actor: String,
    /// The actor's address as it is now; empty: it is no user, or they are gone.
    pub actor_email: String,
    pub action: String,
    pub object: String,
    pub detail: String,
    pub outcome: Outcome,
    pub reason: String,
    pub address: String,
    pub request_id: String,
    pub times: i32,
}

/// Which entries a list shows: those for which everything holds that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// As entries have it, or a user's address.
    pub actor: Option<String>,
    pub action: Option<String>,
    pub object: Option<String>,
    pub outcome: Option<Outcome>,
    /// From this time on, and before this one.
    pub from: Option<i64>,
    pub until: Option<i64>,
}

impl AuditFilter {
    /// Refuses what no entry could have.
    pub fn check(&self) -> Result<()> {
        for (field, text) in [("actor", &self.actor), ("action", &self.action), ("object", &self.object)] {
            let text = text.as_deref().unwrap_or_default();
            if text.chars().count() > TEXT_CHARACTERS_MAX || text.contains('\0') {
                return Err(Error::invalid(field, format!("must be at most {TEXT_CHARACTERS_MAX} characters")));
            }
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_the_rpc_without_its_service() {
        let method = "eventflow.v1.StreamService/CreateStream".into();
        let origin = Origin { request_id: "1".into(), method, address: "127.0.0.1".into() };
        assert_eq!(origin.action(), "CreateStream");
    }

    #[test]
    fn an_entry_is_short_and_has_no_control_characters_whatever_it_is_about() {
        let stream = StreamName::parse("stream", "orders").expect("a name");
        let target = Target::schema(&stream, &format!("a\n\0{}", "ä".repeat(1_000))).saying("x".repeat(1_000));
        assert!(target.object.starts_with("schema:orders/aä"), "{}", target.object);
        assert_eq!((target.object.chars().count(), target.detail.len()), (TEXT_CHARACTERS_MAX, TEXT_CHARACTERS_MAX));
    }
}
