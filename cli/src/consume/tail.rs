//! The newest events first, then, unless told to exit, what comes after them.
//!
//! "Newest" is by append time over all partitions, so the last `n` of each partition are read and the last `n` of those shown.

use eventflow::{Client, Position, Record, streams::PartitionStatistics};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Arguments, Printer, plain};
use crate::{
    client::stream_named,
    failure::{Failure, Result},
};

/// Partitions read at the same time.
const AT_ONCE: usize = 16;

pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<()> {
    let name = &arguments.stream;
    let wanted = arguments.tail.unwrap_or_default() as usize;
    let statistics = match client.streams().statistics(name).await {
        Ok(statistics) => statistics,
        Err(error) => return Err(stream_named(client, name, error).await),
    };
    let mut partitions = statistics.partitions;
    if let Some(only) = arguments.partition {
        partitions.retain(|partition| partition.partition == only);
        if partitions.is_empty() {
            return Err(Failure::usage(format!("the stream `{name}` has no partition {only}")));
        }
    }
    let newest: Vec<Vec<Record>> = stream::iter(&partitions)
        .map(|partition| newest_of(client, name, partition, wanted))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut records: Vec<Record> = newest.into_iter().flatten().collect();
    records.sort_by_key(|record| (record.append_time(), record.partition(), record.offset()));
    let mut printer = Printer::new(arguments);
    for record in &records[records.len().saturating_sub(wanted)..] {
        if printer.print(record)? {
            return printer.flush();
        }
    }
    printer.flush()?;
    if arguments.exit {
        return Ok(());
    }
    follow(client, arguments, &partitions, printer).await
}

async fn newest_of(client: &Client, name: &str, partition: &PartitionStatistics, wanted: usize) -> Result<Vec<Record>> {
    if partition.head <= partition.floor {
        return Ok(Vec::new());
    }
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let from = partition.floor.max(partition.head.saturating_sub(wanted));
    let read = client.read(name).partition(partition.partition).from(Position::Offset(from));
    let head = partition.head;
    // What was appended since belongs to the following.
    let records = read.start().await?.try_take_while(move |record| {
        let before = record.offset() < head;
        async move { Ok(before) }
    });
    Ok(records.try_collect().await?)
}

async fn follow(
    client: &Client,
    arguments: &Arguments,
    partitions: &[PartitionStatistics],
    printer: Printer<'_>,
) -> Result<()> {
    let mut readers = Vec::new();
    for partition in partitions {
        let (stream, mut caught_up_before) = (arguments.stream.clone(), true);
        let read = client
            .read(&stream)
            .partition(partition.partition)
            .from(Position::Offset(partition.head))
            .follow(true)
            .on_notice(move |notice| plain::tell(&stream, notice, &mut caught_up_before));
        readers.push(read.start().await?);
    }
    plain::show_all(stream::select_all(readers), printer).await
}
