//! As a member of a shared group: what was shown is acknowledged, event by event.

use std::time::Duration;

use eventflow::{Client, Job, Worker};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Arguments, Printer};
use crate::{
    failure::{Exit, Failure, Result},
    output::{note, person_watches},
};

/// With `--exit`: how long nothing must come before the group is asked what is left.
const QUIET: Duration = Duration::from_millis(300);

pub(super) async fn run(client: &Client, group: &str, arguments: &Arguments) -> Result<()> {
    let mut builder = client.worker(group);
    if let Some(member) = &arguments.member {
        builder = builder.member_name(member);
    }
    if let Some(max) = arguments.max {
        // No more than will be shown: the rest is for others.
        builder = builder.window_events(u32::try_from(max).unwrap_or(u32::MAX).min(20_000));
    }
    let worker = builder.build().await?;
    if worker.stream() != arguments.stream {
        let sentence =
            format!("the group `{group}` reads the stream `{}`, not `{}`", worker.stream(), arguments.stream);
        worker.close().await?;
        return Err(Failure::new(Exit::Conflict, "OTHER_STREAM", sentence).hint("choose another group"));
    }
    if person_watches() {
        note(format!("joined the shared group `{group}` as `{}`; Ctrl-C leaves it", worker.member_name()));
    }
    let mut printer = Printer::new(arguments);
    let end = show_all(client, group, arguments.exit, &worker, &mut printer).await;
    printer.flush()?;
    let closed = worker.close().await;
    end?;
    Ok(closed?)
}

async fn show_all(client: &Client, group: &str, exit: bool, worker: &Worker, printer: &mut Printer<'_>) -> Result<()> {
    let mut acks = FuturesUnordered::new();
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let ended = loop {
        tokio::select! {
            biased;
            Some(acked) = acks.next(), if !acks.is_empty() => tell(acked),
            next = worker.next() => {
                let Some(job) = next else { break Ok(()) };
                let job: Job = job?;
                let enough = printer.print(job.record())?;
                acks.push(job.ack());
                if enough {
                    break Ok(());
                }
            }
            _ = &mut interrupt => break Err(Failure::interrupted()),
            () = tokio::time::sleep(QUIET) => {
                printer.flush()?;
                if exit && acks.is_empty() {
                    let lag = client.groups().lag(group).await?;
                    if lag.events == 0 && lag.retries == 0 {
                        break Ok(());
                    }
                }
            }
        }
    };
    printer.flush()?;
    while let Some(acked) = acks.next().await {
        tell(acked);
    }
    ended
}

/// An event that was not this member's any more is shown again, here or elsewhere.
fn tell(acked: eventflow::Result<()>) {
    if let Err(error) = acked {
        note(format!("an event that was shown comes again: {error}"));
    }
}
