//! What a person does with events that nobody could handle: looks, edits one, gives all back.

use std::time::Duration;

use eventflow::{
    Client, Event,
    dead_letters::{Edit, Which},
};
use futures_util::TryStreamExt;
use serde_json::Value;

use super::{
    board::Board,
    play::{LONGEST_WAIT, STREAM},
    quake,
    work::{Crew, ERROR_CLASS},
};
use crate::failure::Result;

/// Between looks at the number of dead letters.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// An answer to what the schema does not allow.
const SCHEMA_VIOLATION: &str = "SCHEMA_VIOLATION";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Events that were listed, as partition and offset.
    pub(super) listed: Vec<(u32, i64)>,
    /// Failed attempts of each.
    pub(super) attempts: Vec<u32>,
    pub(super) edited: Option<(u32, i64)>,
    /// An edit that the schema does not allow was refused.
    pub(super) is_bad_edit_refused: bool,
    /// Given back.
    pub(super) redriven: i64,
}

/// Waits for the dead letters, and sees to them.
pub(super) async fn repair(operator: &Client, crew: &Crew, expected: usize, board: &Board) -> Result<Repaired> {
    board.step("waiting until what fails is a dead letter");
    let all_dead = async {
        // poll
        while usize::try_from(operator.groups().lag(crew.name).await?.dead_letters).unwrap_or_default() < expected {
            tokio::time::sleep(LOOK).await;
        }
        Ok::<(), eventflow::Error>(())
    };
    match tokio::time::timeout(LONGEST_WAIT, all_dead).await {
        Ok(done) => done?,
        // The verdict says what is missing.
        Err(_) => board.tell(format!("{} s later, dead letters are still missing", LONGEST_WAIT.as_secs())),
    }
    let letters = operator.dead_letters(crew.name);
    let which = || Which::default().error_class(ERROR_CLASS);
    let listed: Vec<_> = letters.list(which()).try_collect().await?;
    let mut repaired = Repaired {
        listed: listed.iter().map(|letter| (letter.record.partition(), letter.record.offset())).collect(),
        attempts: listed.iter().map(|letter| letter.attempts).collect(),
        ..Repaired::default()
    };
    if let Some(first) = listed.first() {
        board.step("editing one of them, and giving all back");
        let payload = letters.get(&first.id).await?.record.into_event().into_payload();
        let with = |field: &str, value: Value| {
            let mut payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
            payload[field] = value;
            payload.to_string()
        };
        let bad = Edit::default().payload(with("Magnitude", "strong".into()));
        repaired.is_bad_edit_refused = is_violation(letters.edit(&first.id, bad).await);
        letters.edit(&first.id, Edit::default().payload(with("Reviewed", true.into()))).await?;
        repaired.edited = Some((first.record.partition(), first.record.offset()));
    }
    crew.fix();
    loop {
        let handled = letters.redrive(which(), 0).await?;
        repaired.redriven += handled.dead_letters;
        if !handled.more {
            return Ok(repaired);
        }
    }
}

/// Whether an event that the schema does not allow is refused.
pub(super) async fn is_bad_event_refused(client: &Client) -> Result<bool> {
    let producer = client.producer(STREAM).build().await?;
    let event = Event::new(r#"{"Magnitude": "strong"}"#).with_type(quake::RECORDED);
    let refused = is_violation(producer.send(event).await?.await);
    // It tells of the refusal again.
    let _ = producer.close().await;
    Ok(refused)
}

fn is_violation<T>(outcome: eventflow::Result<T>) -> bool {
    outcome.is_err_and(|error| error.reason() == SCHEMA_VIOLATION)
}
