//! The producer: every row once, paced, through one idempotent producer, with the broker that serves it killed half-way.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use eventflow::{Event, Producer, Receipt};
use tokio::sync::mpsc;

use super::{
    board::{Board, Counter},
    stage::Stage,
};
use crate::{failure::Result, publish::Pace};

/// Receipts that may wait to be looked at.
const RECEIPTS: usize = 8_192;

/// What the producer got back.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Receipts.
    pub(super) receipts: usize,
    /// Partition and offset of a receipt, and the row that it is for.
    pub(super) places: HashMap<(u32, i64), usize>,
    /// Events whose first acknowledgement was lost, and that were found in the log.
    pub(super) found_again: usize,
    /// From the kill to the next receipt.
    pub(super) interruption: Option<Duration>,
}

/// When the broker was killed.
#[derive(Clone, Copy, Debug)]
struct Killed {
    at: Instant,
    /// Events sent before.
    after: usize,
}

pub(super) async fn publish(
    producer: Producer,
    events: &[Event],
    rate: f64,
    stage: &mut Stage,
    board: &Board,
) -> Result<Published> {
    let (receipts, settled) = mpsc::channel(RECEIPTS);
    let (told, killed) = tokio::sync::watch::channel(None);
    let sending = send(&producer, events, rate, stage, board, receipts, told);
    let (sent, published) = tokio::join!(sending, settle(settled, killed, board));
    let published = published?;
    sent?;
    producer.close().await?;
    Ok(published)
}

async fn send(
    producer: &Producer,
    events: &[Event],
    rate: f64,
    stage: &mut Stage,
    board: &Board,
    receipts: mpsc::Sender<Receipt>,
    told: tokio::sync::watch::Sender<Option<Killed>>,
) -> Result<()> {
    let mut pace = Pace::new(Some(rate));
    for (index, event) in events.iter().enumerate() {
        if index == events.len() / 2 {
            board.tell("killing broker-1 (SIGKILL): it serves the producer and a member of each group");
            stage.kill_first().await?;
            told.send_replace(Some(Killed { at: Instant::now(), after: index }));
        }
        pace.one_more().await;
        let receipt = producer.send(event.clone()).await?;
        if receipts.send(receipt).await.is_err() {
            // A receipt has failed, and whoever looked at it knows why.
            return Ok(());
        }
    }
    Ok(())
}

async fn settle(
    mut receipts: mpsc::Receiver<Receipt>,
    killed: tokio::sync::watch::Receiver<Option<Killed>>,
    board: &Board,
) -> Result<Published> {
    let mut published = Published::default();
    while let Some(receipt) = receipts.recv().await {
        let appended = receipt.await?;
        // Receipts come in the order of the rows.
        published.places.insert((appended.partition, appended.offset), published.receipts);
        published.receipts += 1;
        published.found_again += usize::from(appended.duplicate);
        board.set(Counter::Acknowledged, published.receipts);
        if published.interruption.is_none()
            && let Some(killed) = *killed.borrow()
            && published.receipts > killed.after
        {
            published.interruption = Some(killed.at.elapsed());
        }
    }
    Ok(published)
}
