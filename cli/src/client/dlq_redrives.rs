//! How far redrives have come.

use eventflow::dead_letters::Redrive;
use serde_json::{Value, json};

use crate::output::{Listing, count, since};

pub(super) fn listing(redrives: &[Redrive]) -> Listing {
    let columns = [
        "id",
        "began (UTC)",
        "#events",
        "#waiting",
        "#retrying",
        "#dead again",
        "#cancelled",
        "#done",
        "last due (UTC)",
    ];
    let mut listing = Listing::new(&columns).when_empty("nothing was redriven");
    for redrive in redrives {
        let counts =
            [redrive.events, redrive.waiting, redrive.retrying, redrive.dead_letters, redrive.cancelled, redrive.done];
        let [events, waiting, retrying, dead, cancelled, done] = counts.map(count);
        let (began, due) = (since(redrive.start_time), since(redrive.last_due_time));
        listing
            .add(object(redrive), [redrive.id.clone(), began, events, waiting, retrying, dead, cancelled, done, due]);
    }
    listing
}

pub(super) fn object(redrive: &Redrive) -> Value {
    json!({
        "id": redrive.id,
        "actor": redrive.actor,
        "start_time": since(redrive.start_time),
        "events": redrive.events,
        "waiting": redrive.waiting,
        "retrying": redrive.retrying,
        "dead_letters": redrive.dead_letters,
        "cancelled": redrive.cancelled,
        "done": redrive.done,
        "cancel_time": redrive.cancel_time.map(since),
        "last_due_time": since(redrive.last_due_time),
    })
}

pub(super) fn cancelled(redrive: &Redrive) -> String {
    let [cancelled, events, retrying] = [redrive.cancelled, redrive.events, redrive.retrying].map(count);
    format!("{cancelled} of {events} events are dead letters again; {retrying} are with members\n")
}
