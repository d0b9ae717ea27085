//! Dead letters: listed, looked at, edited, given back to their group, discarded.

use crate::catalogue::{Answer, Catalogue, Once, groups::existing_group, streams::existing};
use crate::domain::audit::Target;
use crate::domain::dead_letter::{
    DeadLetter, DeadLetterFilter, EventEdit, Handled, Place, Redrive, dead_letter_not_found, redrive_not_found,
};
use crate::domain::event::Event;
use crate::domain::ids::GroupName;
use crate::domain::page::{List, page_size};
use crate::domain::{Error, Result};
use crate::identity::{Granted, ManageGroups, Read};
use crate::store::{Tenant, dead_letters};
use uuid::Uuid;

/// What shall become of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetterChange {
    pub group: GroupName,
    pub filter: DeadLetterFilter,
    pub verb: DeadLetterVerb,
    /// Only count them.
    pub validate_only: bool,
}

/// What shall become of the event of one dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetterEdit {
    pub group: GroupName,
    pub id: Uuid,
    pub edit: EventEdit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterVerb {
    /// Back to the group, so many microseconds apart.
    Redrive {
        spacing_us: i64,
    },
    Discard,
}

impl Catalogue {
    /// A page, the newest first, and the token of the next one.
    pub async fn list_dead_letters(
        &self,
        granted: &Granted<Read>,
        group: &GroupName,
        filter: &DeadLetterFilter,
        size: u32,
        token: &str,
    ) -> Result<(Vec<DeadLetter>, String)> {
        let organization = granted.organization();
        let size = page_size("page_size", size)?;
        let narrowed = format!("{group} {filter:?}");
        let list = List { organization, method: "ListDeadLetters", filter: &narrowed };
        let key = self.page_key().await?;
        let behind = Some(key.open(list, token)?).filter(|text| !text.is_empty());
        let behind = match behind {
            Some(text) => Some(Place::parse(&text).ok_or_else(|| Error::internal("a page token without a place"))?),
            None => None,
        };
        let found = |tenant: Tenant| async move {
            let group = existing_group(&tenant, granted, group).await?;
            dead_letters::list(&tenant, group.id, filter, behind, size + 1).await
        };
        let mut found = self.0.store.tenant(organization, found).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more).map(|last| Place { dead_at: last.dead_at, id: last.id });
        Ok((found, last.map(|place| key.seal(list, &place.to_text())).unwrap_or_default()))
    }

    /// One dead letter, with its payload and history.
    pub async fn get_dead_letter(&self, granted: &Granted<Read>, group: &GroupName, id: Uuid) -> Result<DeadLetter> {
        let found = |tenant: Tenant| async move {
            let found = existing_group(&tenant, granted, group).await?;
            let letter = dead_letters::find(&tenant, found.id, id).await?;
            letter.ok_or_else(|| dead_letter_not_found(group, id))
        };
        self.0.store.tenant(granted.organization(), found).await
    }

    /// Edits one event; the first edit keeps its original. `check` is asked about the event as it will be, and its row is held.
    pub async fn edit_dead_letter(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<DeadLetter>,
        wanted: &DeadLetterEdit,
        check: impl Fn(&Event) -> Result<()>,
    ) -> Result<Answer<DeadLetter>> {
        let by = granted.actor();
        let (check, editor) = (&check, &by.name);
        let work = |tenant: Tenant| async move {
            let group = existing_group(&tenant, granted, &wanted.group).await?;
            let missing = || dead_letter_not_found(&wanted.group, wanted.id);
            let event = dead_letters::hold(&tenant, group.id, wanted.id).await?.ok_or_else(missing)?;
            let stream = existing(&tenant, granted, &group.stream).await?;
            let event = wanted.edit.applied(event, &stream.name, stream.max_event_bytes)?;
            check(&event)?;
            dead_letters::edit(&tenant, group.id, wanted.id, editor, &event).await?;
            dead_letters::find(&tenant, group.id, wanted.id).await?.ok_or_else(missing)
        };
        let edited = |letter: &DeadLetter| {
            let what = format!("{} of dead letter {}", wanted.edit.sets().join(", "), letter.id);
            Target::group(&wanted.group).saying(what)
        };
        self.0.store.change(by.clone(), once, edited, work).await
    }

    /// How far the redrives of a group have come, the newest first.
    pub async fn list_redrives(&self, granted: &Granted<Read>, group: &GroupName) -> Result<Vec<Redrive>> {
        let found = |tenant: Tenant| async move {
            let group = existing_group(&tenant, granted, group).await?;
            dead_letters::redrives(&tenant, group.id, None).await
        };
        self.0.store.tenant(granted.organization(), found).await
    }

    /// Makes dead letters again of what no member has been given.
    pub async fn cancel_redrive(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Redrive>,
        group: &GroupName,
        id: Uuid,
    ) -> Result<Answer<Redrive>> {
        let work = |tenant: Tenant| async move {
            let found = existing_group(&tenant, granted, group).await?;
            let cancelled = dead_letters::cancel_redrive(&tenant, found.id, id).await?;
            cancelled.ok_or_else(|| redrive_not_found(group, id))
        };
        let cancelled = |redrive: &Redrive| {
            let what = format!("redrive {}, {} of {} events", redrive.id, redrive.cancelled, redrive.events);
            Target::group(group).saying(what)
        };
        self.0.store.change(granted.actor(), once, cancelled, work).await
    }

    /// Redrives or discards. A preview changes nothing, and is not remembered.
    pub async fn change_dead_letters(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Handled>,
        change: &DeadLetterChange,
    ) -> Result<Answer<Handled>> {
        let organization = granted.organization();
        let work = |tenant: Tenant| async move {
            let group = existing_group(&tenant, granted, &change.group).await?;
            let DeadLetterChange { filter, verb, validate_only, .. } = change;
            match verb {
                _ if *validate_only => dead_letters::count(&tenant, group.id, filter).await,
                DeadLetterVerb::Redrive { spacing_us } => {
                    dead_letters::redrive(&tenant, group.id, filter, *spacing_us, &granted.actor().name).await
                }
                DeadLetterVerb::Discard => dead_letters::discard(&tenant, group.id, filter).await,
            }
        };
        if change.validate_only {
            return Ok(Answer::Fresh(self.0.store.tenant(organization, work).await?));
        }
        let handled =
            |handled: &Handled| Target::group(&change.group).saying(format!("{} dead letters", handled.dead_letters));
        self.0.store.change(granted.actor(), once, handled, work).await
    }
}
