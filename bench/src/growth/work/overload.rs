//! Load beyond the capacity: calls that come at their time whether earlier ones have been answered or not.
//!
//! The capacity is what the same calls reach when so many are always under way. Then they are offered at a multiple of it. What is
//! taken must not fall much, what is refused must say so with a reason of the broker's, and calls must soon be prompt afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventflow::{ErrorKind, StreamSpec};
use tokio::task::JoinSet;

use crate::figures::Sample;
use crate::steps::Step;
use crate::unary::Caller;
use crate::{Failure, Result, output};

const STREAM: &str = "overload";
const EVENTS: u32 = 100;
/// So many that the broker's limit of calls at the same time is reached before that of a connection.
const CONNECTIONS: usize = 16;
/// Calls under way while the capacity is measured.
const CLOSED: usize = 256;
/// Calls that the client's machine has room for; what would go beyond is not offered, and counted.
const OPEN_MAX: u64 = 16_000;
const TICK: Duration = Duration::from_millis(5);
/// An answer within this is prompt; so many in a row end the recovery.
const PROMPT: Duration = Duration::from_millis(50);
const PROMPT_CALLS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// How calls ended.
#[derive(Default)]
struct Board {
    open: AtomicU64,
    taken: AtomicU64,
    /// By reason.
    refused: Mutex<BTreeMap<String, u64>>,
    /// Ended otherwise; whether they were applied is not known.
    lost: Mutex<BTreeMap<String, u64>>,
}

pub async fn measure(step: &Step<'_>, times: u64) -> Result<Vec<Sample>> {
    let ground = step.ground;
    ground.stream(STREAM, StreamSpec::default()).await?;
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        callers.push(Caller::connect(&ground.url(), ground.api_key(), STREAM, EVENTS).await?);
    }
    let board = Arc::new(Board::default());
    capacity(&callers, &board, step.warm_up).await?;
    ground.settle().await?;
    let peak = capacity(&callers, &board, step.span).await?;
    let before = (board.taken(), board.sum(&board.refused));
    let start = Instant::now();
    let (offered, left_out) = offer(&callers, &board, peak * times as f64, step.span).await;
    let goodput = (board.taken() - before.0) as f64 / start.elapsed().as_secs_f64();
    let recovery = recovered(&callers[0], &board).await?;
    drained(&board).await?;
    let refused = board.sum(&board.refused) - before.1;
    output::note(&format!(
        "  {offered} calls were offered ({left_out} more were not), refusals: {:?}",
        board.refused.lock().unwrap_or_else(PoisonError::into_inner)
    ));
    board.check(ground, offered, left_out, times).await?;
    Ok(vec![
        Sample::new("goodput", goodput * f64::from(EVENTS)),
        Sample::new("of_peak", 100.0 * goodput / peak),
        Sample::new("refused", 100.0 * refused as f64 / offered.max(1) as f64),
        Sample::new("recovery", recovery),
    ])
}

impl Board {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn sum(&self, counts: &Mutex<BTreeMap<String, u64>>) -> u64 {
        counts.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    async fn call(&self, caller: Caller) {
        let Err(status) = caller.publish().await else {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let error = eventflow::Error::from(status);
        let counts = if error.kind() == ErrorKind::ResourceExhausted { &self.refused } else { &self.lost };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(error.reason().to_owned()).or_default() += 1;
    }

    /// What was taken is in the log, what was refused is not, and nothing ended otherwise.
    async fn check(&self, ground: &crate::ground::Ground, offered: u64, left_out: u64, times: u64) -> Result<()> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !lost.is_empty() {
            return Err(format!("calls ended otherwise than taken or refused: {lost:?}").into());
        }
        if left_out * 20 > offered {
            return Err(format!(
                "the client could not offer {times} times: {left_out} calls beside {offered} were too many"
            )
            .into());
        }
        ground.check_stored(STREAM, self.taken() * u64::from(EVENTS)).await
    }
}

/// Calls a second that are taken while so many are under way.
async fn capacity(callers: &[Caller], board: &Arc<Board>, span: Duration) -> Result<f64> {
    let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let (start, before) = (Instant::now(), board.taken());
    for number in 0..CLOSED {
        let (caller, board, stop) = (callers[number % callers.len()].clone(), Arc::clone(board), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                board.call(caller.clone()).await;
            }
        });
    }
    tokio::time::sleep(span).await;
    let rate = (board.taken() - before) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(rate)
}

/// Begins so many calls a second; answers how many were begun, and how many were not for want of room.
async fn offer(callers: &[Caller], board: &Arc<Board>, calls_per_second: f64, span: Duration) -> (u64, u64) {
    let (start, mut number, mut left_out) = (Instant::now(), 0u64, 0);
    let mut ticks = tokio::time::interval(TICK);
    while start.elapsed() < span {
        ticks.tick().await;
        let due = (start.elapsed().as_secs_f64() * calls_per_second) as u64;
        for number in number..due {
            if board.open.load(Ordering::Relaxed) >= OPEN_MAX {
                left_out += 1;
                continue;
            }
            board.open.fetch_add(1, Ordering::Relaxed);
            let (caller, board) = (callers[number as usize % callers.len()].clone(), Arc::clone(board));
            tokio::spawn(async move {
                board.call(caller).await;
                board.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
        number = number.max(due);
    }
    (number - left_out, left_out)
}

/// Seconds until calls, one after the other, begin to be prompt.
async fn recovered(caller: &Caller, board: &Board) -> Result<f64> {
    let start = Instant::now();
    let (mut prompt, mut since) = (0, start);
    while prompt < PROMPT_CALLS {
        if start.elapsed() > PATIENCE {
            return Err(format!("calls were not prompt within {PATIENCE:?} of the overload").into());
        }
        let (call, before) = (Instant::now(), board.taken());
        board.call(caller.clone()).await;
        if board.taken() > before && call.elapsed() <= PROMPT {
            since = if prompt == 0 { call } else { since };
            prompt += 1;
        } else {
            prompt = 0;
        }
    }
    Ok((since - start).as_secs_f64())
}

/// Until every call has its answer.
async fn drained(board: &Board) -> Result<()> {
    super::until("answering what was open", PATIENCE, || async {
        Ok::<_, Failure>(board.open.load(Ordering::Relaxed) == 0)
    })
    .await
}
