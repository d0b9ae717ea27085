//! Without a group: only reads.

use eventflow::{Client, Position, Record, read::ReadNotice};
use futures_util::{FutureExt, Stream, StreamExt};

use super::{Arguments, Printer, places};
use crate::{
    client::stream_named,
    failure::{Failure, Result},
    output::{note, person_watches, span},
};

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<()> {
    let from = arguments.position();
    if matches!(from, Position::Offset(_)) && arguments.partition.is_none() {
        return Err(Failure::usage("an offset is of one partition: add --partition"));
    }
    let follows = !arguments.exit;
    let stream = arguments.stream.clone();
    let mut read = client.read(&stream).from(from).follow(follows);
    if let Some(partition) = arguments.partition {
        read = read.partition(partition);
    }
    if let Some(filter) = &arguments.filter {
        read = read.filter(filter);
    }
    if let Some(max) = arguments.max {
        read = read.max_events(max);
    }
    if follows && arguments.from.is_none() {
        note("waiting for new events; --from earliest shows those that are there already");
    }
    let mut caught_up_before = !follows || from == Position::Latest;
    let named = stream.clone();
    let read = read.on_notice(move |notice| tell(&named, notice, &mut caught_up_before));
    let reader = match read.start().await {
        Ok(reader) => reader,
        Err(error) => return Err(stream_named(client, &stream, error).await),
    };
    show_all(reader, Printer::new(arguments)).await
}

/// Shows everything that comes, until it ends or Ctrl-C.
pub(super) async fn show_all(
    mut records: impl Stream<Item = eventflow::Result<Record>> + Unpin,
    mut printer: Printer<'_>,
) -> Result<()> {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        // While more is there already, lines are gathered; whoever waits has seen everything.
        let next = match records.next().now_or_never() {
            Some(next) => next,
            None => {
                printer.flush()?;
                tokio::select! {
                    next = records.next() => next,
                    _ = &mut interrupt => return Err(Failure::interrupted()),
                }
            }
        };
        let done = match next {
            Some(record) => printer.print(&record?)?,
            None => true,
        };
        if done {
            return printer.flush();
        }
    }
}

pub(super) fn tell(stream: &str, notice: ReadNotice, caught_up_before: &mut bool) {
    if let ReadNotice::Reconnected { after, resumed_at } = &notice {
        note(reconnected(stream, *after, resumed_at));
    }
    let first_time = notice == ReadNotice::CaughtUp && !std::mem::replace(caught_up_before, true);
    if first_time && person_watches() {
        note("that is all for now; waiting for new events (Ctrl-C stops; --exit would end here)");
    }
}

/// "reconnected after 1.2 s, resumed at …".
pub(super) fn reconnected(stream: &str, after: std::time::Duration, resumed_at: &[(u32, i64)]) -> String {
    format!("reconnected after {}, resumed at {}", span(after), places(stream, resumed_at))
}
