//! Many events, through one producer that batches them, with their receipts collected behind it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use eventflow::{Client, Producer, Receipt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Arguments, Pace,
    source::{Item, Source},
};
use crate::{
    client::stream_named,
    failure::{Failure, Result},
    output::{count, note, person_watches, span},
};

/// Receipts that wait to be looked at; the producer's own memory is the tighter bound.
const RECEIPTS: usize = 65_536;

/// What became of the events.
#[derive(Debug, Default)]
struct Published {
    events: u64,
    duplicates: u64,
    partitions: BTreeSet<u32>,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let source = Source::open(arguments.file.as_ref(), arguments.format)?;
    let bar = bar(source.size);
    let client = arguments.target.connect().await?;
    let stream = &arguments.stream;
    let producer = match client.producer(stream).build().await {
        Ok(producer) => producer,
        Err(error) => return Err(stream_named(&client, stream, error).await),
    };
    let begun = Instant::now();
    let items = source.start(arguments.fields.clone());
    let mut published = Published::default();
    let outcome = publish(&producer, items, arguments.rate, &bar, &mut published).await;
    let closed = producer.close().await;
    bar.finish_and_clear();
    let took = begun.elapsed();
    report(&arguments, &published, took)?;
    match outcome {
        Err(failure) => Err(explained(&client, stream, failure).await),
        Ok(()) => match closed {
            Ok(()) => Ok(()),
            Err(error) => Err(stream_named(&client, stream, error).await),
        },
    }
}

/// Why publishing ended early.
enum Stop {
    Input(Failure),
    Broker(eventflow::Error),
    Signal,
}

async fn explained(client: &Client, stream: &str, stop: Stop) -> Failure {
    match stop {
        Stop::Input(failure) => failure,
        Stop::Broker(error) => stream_named(client, stream, error).await,
        Stop::Signal => Failure::interrupted(),
    }
}

async fn publish(
    producer: &Producer,
    items: mpsc::Receiver<Result<Item>>,
    rate: Option<f64>,
    bar: &ProgressBar,
    published: &mut Published,
) -> std::result::Result<(), Stop> {
    let (receipts, mut settled) = mpsc::channel(RECEIPTS);
    let sending = async {
        tokio::select! {
            sent = send(producer, items, rate, bar, receipts) => sent,
            _ = tokio::signal::ctrl_c() => Err(Stop::Signal),
        }
    };
    let settling = async {
        while let Some(receipt) = settled.recv().await {
            let receipt: Receipt = receipt;
            let appended = receipt.await.map_err(Stop::Broker)?;
            published.events += 1;
            published.duplicates += u64::from(appended.duplicate);
            published.partitions.insert(appended.partition);
        }
        Ok(())
    };
    // Both to their ends, so that what was sent before a bad line is counted; a failed receipt stops the sending.
    let (sent, settled) = tokio::join!(sending, settling);
    settled.and(sent)
}

async fn send(
    producer: &Producer,
    mut items: mpsc::Receiver<Result<Item>>,
    rate: Option<f64>,
    bar: &ProgressBar,
    receipts: mpsc::Sender<Receipt>,
) -> std::result::Result<(), Stop> {
    let mut pace = Pace::new(rate);
    while let Some(item) = items.recv().await {
        let item = item.map_err(Stop::Input)?;
        pace.one_more().await;
        let receipt = producer.send(item.event).await.map_err(Stop::Broker)?;
        bar.set_position(item.bytes);
        if receipts.send(receipt).await.is_err() {
            // Settling has stopped, and knows why.
            return Ok(());
        }
    }
    Ok(())
}

fn bar(size: Option<u64>) -> ProgressBar {
    if !person_watches() {
        return ProgressBar::with_draw_target(size, ProgressDrawTarget::hidden());
    }
    let template = match size {
        Some(_) => "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
        None => "{spinner} {bytes}  {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = match size {
        Some(size) => ProgressBar::new(size),
        None => ProgressBar::new_spinner(),
    };
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn report(arguments: &Arguments, published: &Published, took: Duration) -> Result<()> {
    let stream = &arguments.stream;
    let per_second = published.events as f64 / took.as_secs_f64().max(1e-9);
    let object = json!({
        "stream": stream,
        "events": published.events,
        "duplicates": published.duplicates,
        "partitions": published.partitions.len(),
        "seconds": took.as_secs_f64(),
    });
    if published.duplicates > 0 {
        note(format!("{} of them had been appended by an earlier attempt", count(published.duplicates)));
    }
    arguments.output.open().object(&object, |_| {
        format!(
            "published {} events to {} partitions of `{stream}` in {} ({} a second)\n",
            count(published.events),
            published.partitions.len(),
            span(took),
            count(per_second as i128),
        )
    })
}
