//! As a member of a group: what was shown is committed, and another member goes on where this one ends.

use std::time::Duration;

use eventflow::{Client, Consumer, GroupSpec, Notice, Position, Record};
use futures_util::{FutureExt, StreamExt};

use super::{Arguments, Printer, places, plain, shared};
use crate::{
    client::{group_named, stream_named},
    failure::{Exit, Failure, Result},
    output::{note, person_watches},
};

/// With `--exit`: how long nothing must come before the lag is asked for. Longer than it takes to commit.
const QUIET: Duration = Duration::from_millis(300);

/// How often what was shown is committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn run(client: &Client, group: &str, arguments: &Arguments) -> Result<()> {
    let Some(consumer) = join(client, group, arguments).await? else {
        return shared::run(client, group, arguments).await;
    };
    if consumer.stream() != arguments.stream {
        let sentence =
            format!("the group `{group}` reads the stream `{}`, not `{}`", consumer.stream(), arguments.stream);
        consumer.close().await?;
        return Err(Failure::new(Exit::Conflict, "OTHER_STREAM", sentence).hint("choose another group"));
    }
    if person_watches() {
        note(format!("joined `{group}` as `{}`; Ctrl-C leaves it", consumer.member_name()));
    }
    show_all(client, group, arguments, consumer).await
}

/// None: the group is shared.
async fn join(client: &Client, group: &str, arguments: &Arguments) -> Result<Option<Consumer>> {
    let joined = build(client, group, arguments).await;
    let missing = matches!(&joined, Err(error) if error.reason() == "CONSUMER_GROUP_NOT_FOUND");
    match joined {
        Err(error) if error.reason() == "DELIVERY_MODE_MISMATCH" => Ok(None),
        Ok(_) if arguments.from.is_some() && !arguments.create_group => {
            let sentence = format!("the group `{group}` goes on where it is: --from is for new groups");
            Err(Failure::usage(sentence).hint("move it with `eventflow group seek`"))
        }
        Ok(_) if arguments.filter.is_some() && !arguments.create_group => {
            let sentence = format!("the group `{group}` has a filter of its own, or none: --filter is for new groups");
            Err(Failure::usage(sentence).hint("change it with `eventflow group update --filter`"))
        }
        Ok(consumer) => Ok(Some(consumer)),
        Err(_) if missing && arguments.create_group => {
            make(client, group, arguments).await?;
            Ok(Some(build(client, group, arguments).await?))
        }
        Err(error) if missing => {
            let failure = group_named(client, group, error).await;
            Err(failure.hint("add --create-group to make it, or see `eventflow group list`"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn build(client: &Client, group: &str, arguments: &Arguments) -> eventflow::Result<Consumer> {
    let mut builder = client.consumer(group).auto_commit(COMMIT_INTERVAL);
    if let Some(member) = &arguments.member {
        builder = builder.member_name(member);
    }
    builder.build().await
}

async fn make(client: &Client, group: &str, arguments: &Arguments) -> Result<()> {
    let from = arguments.from.map_or(Position::Earliest, |from| from.0);
    if matches!(from, Position::Offset(_)) {
        return Err(Failure::usage("a group starts at earliest, latest or a time; seek to an offset later"));
    }
    let spec = arguments.filter.iter().fold(GroupSpec::default(), |spec, filter| spec.filter(filter));
    match client.groups().create(group, &arguments.stream, from, spec).await {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(error) if error.reason() == "CONSUMER_GROUP_EXISTS" => Ok(()),
        Err(error) => Err(stream_named(client, &arguments.stream, error).await),
    }
}

/// Why the showing ended.
enum End {
    /// Enough, after this record.
    Enough(Box<Record>),
    Drained,
    Interrupted,
}

async fn show_all(client: &Client, group: &str, arguments: &Arguments, mut consumer: Consumer) -> Result<()> {
    let mut printer = Printer::new(arguments);
    let end = until_end(client, group, arguments.exit, &mut consumer, &mut printer).await;
    printer.flush()?;
    let end = end?;
    if let End::Enough(record) = &end {
        // Asking for the next record would say that this one is done; there is no next one.
        consumer.commit(record).await?;
    }
    consumer.close().await?;
    match end {
        End::Interrupted => Err(Failure::interrupted()),
        End::Enough(_) | End::Drained => Ok(()),
    }
}

async fn until_end(
    client: &Client,
    group: &str,
    exit: bool,
    consumer: &mut Consumer,
    printer: &mut Printer<'_>,
) -> Result<End> {
    let stream = consumer.stream().to_owned();
    let mut notices = consumer.notices();
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut noticing = true;
    loop {
        let next = match consumer.next().now_or_never() {
            Some(next) => next,
            None => {
                printer.flush()?;
                tokio::select! {
                    biased;
                    notice = notices.next(), if noticing => {
                        noticing = notice.is_some();
                        if let Some(notice) = notice {
                            tell(&stream, &notice);
                        }
                        continue;
                    }
                    next = consumer.next() => next,
                    _ = &mut interrupt => return Ok(End::Interrupted),
                    () = tokio::time::sleep(QUIET), if exit => {
                        if client.groups().lag(group).await?.events == 0 {
                            return Ok(End::Drained);
                        }
                        continue;
                    }
                }
            }
        };
        let Some(record) = next else {
            return Ok(End::Drained);
        };
        let record = record?;
        if printer.print(&record)? {
            return Ok(End::Enough(Box::new(record)));
        }
    }
}

fn tell(stream: &str, notice: &Notice) {
    match notice {
        Notice::Reconnected { after, resumed_at, .. } => note(plain::reconnected(stream, *after, resumed_at)),
        Notice::Assigned { partitions } if person_watches() => {
            note(format!("assigned {}", places(stream, partitions)));
        }
        Notice::Revoked { partitions } if person_watches() => {
            let list: Vec<String> = partitions.iter().map(u32::to_string).collect();
            note(format!("partitions {} went to another member", list.join(", ")));
        }
        Notice::Repositioned { partition, next_offset } => {
            note(format!("the group was moved: {stream}/{partition} goes on at {next_offset}"));
        }
        Notice::Truncated { partition, from_offset, to_offset, resumed } => {
            let then = if *resumed { "goes on there" } else { "waits for a seek" };
            note(format!(
                "events of {stream}/{partition} from {from_offset} to {to_offset} were removed unread; the group {then}"
            ));
        }
        _ => {}
    }
}
