//! The producer: every row through one idempotent producer, with the broker that serves it killed half-way; the revisions that were
//! refused; and everything once more.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use eventflow::{Event, Producer, Receipt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};

use super::{
    board::{Board, Counter},
    catalogue::Catalogue,
    stage::Stage,
};
use crate::{failure::Result, publish::Pace};

/// Receipts that may wait to be looked at.
const RECEIPTS: usize = 8_192;

/// An event that says something else than the one that its idempotency key stands for.
const KEY_REUSED: &str = "IDEMPOTENCY_KEY_REUSED";

/// What the producer got back.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Partition and offset of a receipt, and the row that it is for.
    pub(super) places: HashMap<(u32, i64), usize>,
    /// Receipts.
    pub(super) receipts: usize,
    /// Rows that were refused: they revise an earthquake under its key.
    pub(super) refused: Vec<usize>,
    /// Receipts of revisions under a type of their own.
    pub(super) revised: usize,
    /// Events whose first acknowledgement was lost, and that were found in the log.
    pub(super) found_again: usize,
    /// From the kill to the next receipt.
    pub(super) interruption: Option<Duration>,
    pub(super) repeated: Repeated,
}

/// What came of publishing the whole table once more.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// Answered as duplicates, each with the place that it has.
    pub(super) duplicates: usize,
    /// Answered in any other way.
    pub(super) others: usize,
    pub(super) refused: Vec<usize>,
}

/// When the broker was killed.
#[derive(Clone, Copy, Debug)]
struct Killed {
    at: Instant,
    /// Events sent before.
    after: usize,
}

/// A row whose answer is awaited.
type Sent = (usize, Receipt);

pub(super) async fn publish(
    producer: Producer,
    catalogue: &Catalogue,
    rate: f64,
    stage: &mut Stage,
    board: &Board,
) -> Result<Published> {
    let mut published = Published::default();
    let (told, killed) = watch::channel(None);
    let (receipts, settled) = mpsc::channel(RECEIPTS);
    let sending = record(&producer, catalogue.events(), rate, stage, board, receipts, told);
    let (sent, settled) = tokio::join!(sending, published.settle(settled, killed, board));
    settled.and(sent)?;

    board.step("publishing the revisions that were refused, under a type of their own");
    let refused: Vec<(usize, &Event)> = catalogue.revisions().iter().map(|(row, event)| (*row, event)).collect();
    let (receipts, settled) = mpsc::channel(RECEIPTS);
    let (sent, settled) = tokio::join!(send(&producer, refused, receipts), published.revise(settled, board));
    settled.and(sent)?;

    board.step("publishing the whole table once more");
    let (receipts, settled) = mpsc::channel(RECEIPTS);
    let everything = catalogue.events().iter().enumerate();
    let (sent, settled) = tokio::join!(send(&producer, everything, receipts), published.repeat(settled));
    settled.and(sent)?;
    // It tells of the first failure again; every receipt has been looked at.
    let _ = producer.close().await;
    Ok(published)
}

/// Sends every row, paced, and kills the broker half-way.
async fn record(
    producer: &Producer,
    events: &[Event],
    rate: f64,
    stage: &mut Stage,
    board: &Board,
    receipts: mpsc::Sender<Sent>,
    told: watch::Sender<Option<Killed>>,
) -> Result<()> {
    let mut pace = Pace::new(Some(rate));
    for (row, event) in events.iter().enumerate() {
        if row == events.len() / 2 {
            board.tell("killing broker-1 (SIGKILL): it serves the producer and a member of each group");
            stage.kill_first().await?;
            told.send_replace(Some(Killed { at: Instant::now(), after: row }));
        }
        pace.one_more().await;
        let receipt = producer.send(event.clone()).await?;
        if receipts.send((row, receipt)).await.is_err() {
            // A receipt has failed, and whoever looked at it knows why.
            return Ok(());
        }
    }
    Ok(())
}

/// Sends rows as fast as it goes.
async fn send<'a>(
    producer: &Producer,
    events: impl IntoIterator<Item = (usize, &'a Event)>,
    receipts: mpsc::Sender<Sent>,
) -> Result<()> {
    for (row, event) in events {
        let receipt = producer.send(event.clone()).await?;
        if receipts.send((row, receipt)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Published {
    async fn settle(
        &mut self,
        mut sent: mpsc::Receiver<Sent>,
        killed: watch::Receiver<Option<Killed>>,
        board: &Board,
    ) -> Result<()> {
        let mut answers = FuturesUnordered::new();
        loop {
            let (row, answer) = tokio::select! {
                Some((row, receipt)) = sent.recv(), if answers.len() < RECEIPTS => {
                    answers.push(async move { (row, receipt.await) });
                    continue;
                }
                Some(answer) = answers.next() => answer,
                else => break,
            };
            match answer {
                Ok(appended) => {
                    self.places.insert((appended.partition, appended.offset), row);
                    self.receipts += 1;
                    self.found_again += usize::from(appended.duplicate);
                    board.set(Counter::Acknowledged, self.receipts);
                }
                Err(error) if error.reason() == KEY_REUSED => self.refused.push(row),
                Err(error) => return Err(error.into()),
            }
            if self.interruption.is_none()
                && let Some(killed) = *killed.borrow()
                && row >= killed.after
            {
                self.interruption = Some(killed.at.elapsed());
            }
        }
        self.refused.sort_unstable();
        Ok(())
    }

    async fn revise(&mut self, mut sent: mpsc::Receiver<Sent>, board: &Board) -> Result<()> {
        while let Some((row, receipt)) = sent.recv().await {
            let appended = receipt.await?;
            self.places.insert((appended.partition, appended.offset), row);
            self.revised += 1;
            board.set(Counter::Acknowledged, self.receipts + self.revised);
        }
        Ok(())
    }

    async fn repeat(&mut self, mut sent: mpsc::Receiver<Sent>) -> Result<()> {
        while let Some((row, receipt)) = sent.recv().await {
            match receipt.await {
                Ok(appended) => {
                    let is_first = self.places.get(&(appended.partition, appended.offset)) == Some(&row);
                    let is_known = appended.duplicate && is_first;
                    let counter = if is_known { &mut self.repeated.duplicates } else { &mut self.repeated.others };
                    *counter += 1;
                }
                Err(error) if error.reason() == KEY_REUSED => self.repeated.refused.push(row),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
