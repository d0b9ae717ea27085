//! Events that consumer groups gave up on.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::dead_letters::{Edit, Which};
//! use futures_util::TryStreamExt;
//!
//! let letters = client.dead_letters("mailer");
//! let mut list = letters.list(Which::default());
//! while let Some(letter) = list.try_next().await? {
//!     println!("{} after {} attempts: {}", letter.record.id(), letter.attempts, letter.reason);
//! }
//! // An event that could not be read: as it should have been.
//! letters.edit("0b0e8400-e29b-41d4-a716-446655440000", Edit::default().payload(r#"{"total": 7}"#)).await?;
//! // The cause is mended: all timeouts again, fifty a second.
//! letters.redrive(Which::default().error_class("timeout"), 50).await?;
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventflow_proto::v1::{self, event::Payload};

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::{duration_from_wire, event_from_wire, record_from_wire, required, time_from_wire, time_to_wire},
    error::{Error, Result},
    event::{Event, Header},
    pages::{Pages, pages},
    position::Record,
};

/// An event that a group gave up on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Id, a UUID.
    pub id: String,
    /// The event, as it was edited, and its position; without its payload in a list. Its stream is not named, it is the group's.
    pub record: Record,
    /// Failed attempts.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: String,
    /// Error class of the last failure.
    pub error_class: String,
    /// When it was given up (database time).
    pub dead_time: SystemTime,
    /// The newest attempts, at most 20; empty in a list.
    pub history: Vec<FailedAttempt>,
    /// The last edit; None: the event is as it was appended.
    pub edit: Option<LastEdit>,
}

/// How an event became other than it was appended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LastEdit {
    /// Whose credential the last edit had: `key:` or `user:` and an id.
    pub editor: String,
    /// When that was (database time).
    pub time: SystemTime,
    /// What differs from the original, all edits together: of `payload`, `headers`, `content_type`.
    pub changed: Vec<String>,
    /// The event as it was appended; only from [`DeadLetters::get`].
    pub original: Option<Event>,
}

/// What an edit puts into an event; what is not set stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    event: v1::Event,
    paths: Vec<String>,
}

impl Edit {
    /// Another payload; the content type stays.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.event.payload = Some(Payload::Data(payload.into()));
        self.naming("payload")
    }

    /// Other headers: all of them, so that what is not among them is removed.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = Header>) -> Self {
        let wire = |Header { name, value }| v1::Header { name, value };
        self.event.headers = headers.into_iter().map(wire).collect();
        self.naming("headers")
    }

    /// Another content type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.event.content_type = content_type.into();
        self.naming("content_type")
    }

    fn naming(mut self, path: &str) -> Self {
        self.paths.push(path.to_owned());
        self
    }
}

/// One attempt that failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// Its number.
    pub attempt: u32,
    /// When it failed (database time).
    pub time: SystemTime,
    /// Member that had the event.
    pub member: String,
    /// Why.
    pub reason: String,
    /// Error class.
    pub error_class: String,
    /// How long the member had had the event.
    pub duration: Duration,
    /// Id of the trace in which it failed, as the member said; otherwise of the trace in which the event was published. Empty: neither
    /// is known.
    pub trace_id: String,
}

/// Which dead letters of a group; all, unless narrowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Which {
    ids: Vec<String>,
    filter: v1::DeadLetterFilter,
}

impl Which {
    /// These only, at most 1,000. Without meaning for a list.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Exactly this error class.
    #[must_use]
    pub fn error_class(mut self, class: impl Into<String>) -> Self {
        self.filter.error_class = class.into();
        self
    }

    /// Text that the reason contains.
    #[must_use]
    pub fn reason_contains(mut self, text: impl Into<String>) -> Self {
        self.filter.reason_contains = text.into();
        self
    }

    /// Given up at this time or later.
    #[must_use]
    pub fn from(mut self, time: SystemTime) -> Self {
        self.filter.from = Some(time_to_wire(time));
        self
    }

    /// Given up before this time.
    #[must_use]
    pub fn to(mut self, time: SystemTime) -> Self {
        self.filter.to = Some(time_to_wire(time));
        self
    }
}

/// What was done with dead letters, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// How many; the oldest first, at most 10,000 a call.
    pub dead_letters: i64,
    /// There are more: ask again.
    pub more: bool,
    /// Id of the redrive with which they went back, if they did.
    pub redrive_id: Option<String>,
}

/// What one call gave back: its events are waiting, retrying, dead letters again, cancelled, or done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redrive {
    /// Id, a UUID.
    pub id: String,
    /// Whose credential it had: `key:` or `user:` and an id.
    pub actor: String,
    /// When it began (database time).
    pub start_time: SystemTime,
    /// Events that it gave back.
    pub events: i64,
    /// Events that no member has been given yet.
    pub waiting: i64,
    /// Events that members have, or that failed again and wait for another attempt.
    pub retrying: i64,
    /// Events that became dead letters again.
    pub dead_letters: i64,
    /// Events that became dead letters as before, because it was cancelled.
    pub cancelled: i64,
    /// Events that were processed, or that a seek took out of the group's way.
    pub done: i64,
    /// When it was cancelled.
    pub cancel_time: Option<SystemTime>,
    /// When the last of them falls due, or did.
    pub last_due_time: SystemTime,
}

/// The dead letters of one group. From [`Client::dead_letters`].
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    group: String,
}

impl DeadLetters {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self { client, group }
    }

    /// The newest first; pages are fetched as the list is read. Payloads and histories are left out.
    pub fn list(&self, which: Which) -> Pages<DeadLetter> {
        let group = self.group.clone();
        pages(self.client.clone(), move |client, page_token| {
            let request = v1::ListDeadLettersRequest {
                group: group.clone(),
                filter: Some(which.filter.clone()),
                page_size: 0,
                page_token,
            };
            async move {
                let call = |broker: Transport| {
                    let request = request.clone();
                    async move { broker.dead_letters().list_dead_letters(request).await }
                };
                let page = client.unary(call).await?;
                let letters = page.dead_letters.into_iter().map(DeadLetter::try_from).collect::<Result<_>>()?;
                Ok((letters, page.next_page_token))
            }
        })
    }

    /// One, with its payload and history.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn get(&self, id: impl Into<String>) -> Result<DeadLetter> {
        let request = v1::GetDeadLetterRequest {
            group: self.group.clone(),
            dead_letter_id: id.into(),
            payload_view: v1::PayloadView::Bytes as i32,
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.dead_letters().get_dead_letter(request).await }
        };
        required(self.client.unary(call).await?.dead_letter, "dead_letter")?.try_into()
    }

    /// Changes the event of one, for its redrive: what is delivered then has this payload, these headers, and its identity as
    /// it was. The event as it was appended is kept.
    ///
    /// # Errors
    /// `DEAD_LETTER_NOT_FOUND`, `CONSUMER_GROUP_NOT_FOUND`, `EVENT_TOO_LARGE`, `SCHEMA_VIOLATION` where the stream enforces
    /// its schema, `INVALID_ARGUMENT`; also when the edit sets nothing.
    pub async fn edit(&self, id: impl Into<String>, edit: Edit) -> Result<LastEdit> {
        let request = v1::UpdateDeadLetterRequest {
            group: self.group.clone(),
            dead_letter_id: id.into(),
            event: Some(edit.event),
            update_mask: Some(prost_types::FieldMask { paths: edit.paths }),
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.dead_letters().update_dead_letter(request).await }
        };
        required(self.client.unary(call).await?.edit, "edit")?.try_into()
    }

    /// Gives dead letters back to the group, so many a second (0: all at once), behind what an earlier redrive at a rate still has
    /// waiting: each is delivered again, with all attempts before it.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn redrive(&self, which: Which, per_second: u32) -> Result<Handled> {
        self.redrive_or_preview(which, per_second, false).await
    }

    /// How many a redrive would give back.
    ///
    /// # Errors
    /// As [`DeadLetters::redrive`].
    pub async fn preview_redrive(&self, which: Which) -> Result<Handled> {
        self.redrive_or_preview(which, 0, true).await
    }

    async fn redrive_or_preview(&self, which: Which, per_second: u32, validate_only: bool) -> Result<Handled> {
        let request = v1::RedriveDeadLettersRequest {
            group: self.group.clone(),
            dead_letter_ids: which.ids,
            filter: Some(which.filter),
            per_second,
            validate_only,
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.dead_letters().redrive_dead_letters(request).await }
        };
        let done = self.client.unary(call).await?;
        let redrive_id = Some(done.redrive_id).filter(|id| !id.is_empty());
        Ok(Handled { dead_letters: done.dead_letters, more: done.more, redrive_id })
    }

    /// How far the redrives of the group have come, the newest first: the newest 100, and older ones that go on.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn redrives(&self) -> Result<Vec<Redrive>> {
        let call = |broker: Transport| {
            let request = v1::ListRedrivesRequest { group: self.group.clone() };
            async move { broker.dead_letters().list_redrives(request).await }
        };
        self.client.unary(call).await?.redrives.into_iter().map(Redrive::try_from).collect()
    }

    /// Makes dead letters again of the events of a redrive that no member has been given yet; what members have goes on.
    ///
    /// # Errors
    /// `REDRIVE_NOT_FOUND`, `CONSUMER_GROUP_NOT_FOUND`.
    pub async fn cancel_redrive(&self, id: impl Into<String>) -> Result<Redrive> {
        let request =
            v1::CancelRedriveRequest { group: self.group.clone(), redrive_id: id.into(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.dead_letters().cancel_redrive(request).await }
        };
        required(self.client.unary(call).await?.redrive, "redrive")?.try_into()
    }

    /// Removes dead letters for good.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_NOT_FOUND`, `INVALID_ARGUMENT`.
    pub async fn discard(&self, which: Which) -> Result<Handled> {
        self.discard_or_preview(which, false).await
    }

    /// How many a discard would remove.
    ///
    /// # Errors
    /// As [`DeadLetters::discard`].
    pub async fn preview_discard(&self, which: Which) -> Result<Handled> {
        self.discard_or_preview(which, true).await
    }

    async fn discard_or_preview(&self, which: Which, validate_only: bool) -> Result<Handled> {
        let request = v1::DiscardDeadLettersRequest {
            group: self.group.clone(),
            dead_letter_ids: which.ids,
            filter: Some(which.filter),
            validate_only,
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.dead_letters().discard_dead_letters(request).await }
        };
        let done = self.client.unary(call).await?;
        Ok(Handled { dead_letters: done.dead_letters, more: done.more, redrive_id: None })
    }
}

impl TryFrom<v1::DeadLetterEvent> for DeadLetter {
    type Error = Error;

    fn try_from(letter: v1::DeadLetterEvent) -> Result<Self> {
        let stored = required(letter.event, "dead_letter.event")?;
        let attempt = |attempt: v1::FailedAttempt| FailedAttempt {
            attempt: attempt.attempt,
            time: time_from_wire(&attempt.time.unwrap_or_default()),
            member: attempt.member,
            reason: attempt.reason,
            error_class: attempt.error_class,
            duration: duration_from_wire(&attempt.duration.unwrap_or_default()),
            trace_id: attempt.trace_id,
        };
        Ok(Self {
            id: letter.dead_letter_id,
            record: record_from_wire(stored, "dead_letter.event.event")?,
            attempts: letter.attempts,
            reason: letter.reason,
            error_class: letter.error_class,
            dead_time: time_from_wire(&required(letter.dead_time, "dead_letter.dead_time")?),
            history: letter.history.into_iter().map(attempt).collect(),
            edit: letter.edit.map(LastEdit::try_from).transpose()?,
        })
    }
}

impl TryFrom<v1::Redrive> for Redrive {
    type Error = Error;

    fn try_from(redrive: v1::Redrive) -> Result<Self> {
        Ok(Self {
            id: redrive.redrive_id,
            actor: redrive.actor,
            start_time: time_from_wire(&required(redrive.start_time, "redrive.start_time")?),
            events: redrive.events,
            waiting: redrive.waiting_events,
            retrying: redrive.retrying_events,
            dead_letters: redrive.dead_letters,
            cancelled: redrive.cancelled_events,
            done: redrive.done_events,
            cancel_time: redrive.cancel_time.map(|time| time_from_wire(&time)),
            last_due_time: time_from_wire(&required(redrive.last_due_time, "redrive.last_due_time")?),
        })
    }
}

impl TryFrom<v1::DeadLetterEdit> for LastEdit {
    type Error = Error;

    fn try_from(edit: v1::DeadLetterEdit) -> Result<Self> {
        Ok(Self {
            editor: edit.editor,
            time: time_from_wire(&required(edit.edit_time, "edit.edit_time")?),
            changed: edit.changed_fields,
            original: edit.original.map(event_from_wire),
        })
    }
}
