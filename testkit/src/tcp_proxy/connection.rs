//! One proxied connection: two lanes, and whatever ends them.
//!
//! A lane reads ahead of what it delivers, so that a delay does not slow the flow; the reader obeys throttle and
//! stall too, so that a slow lane pushes back instead of filling memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{Direction, Faults, Shared};
use crate::upstream::Upstream;

/// The most bytes that one read takes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks on their way in a lane.
const CHUNKS_IN_FLIGHT: usize = 64;

/// A throttled lane moves in steps of this length.
const THROTTLE_STEP: Duration = Duration::from_millis(20);

/// How a connection ends.
enum End {
    /// Both sides have finished, or one of them broke.
    Itself,
    Closed,
    Reset,
}

/// Bytes and when they are due.
type Chunk = (Instant, Vec<u8>);

pub(super) async fn run(client: TcpStream, upstream: Upstream, shared: Arc<Shared>) {
    let open = Open::new(&shared);
    let Ok(server) = upstream.connect().await else {
        let _ = client.set_zero_linger();
        return;
    };
    let mut client = client;
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (from_client, to_client) = client.split();
    let end = tokio::select! {
        end = async {
            let lanes = tokio::try_join!(
                lane(Direction::Up, from_client, &mut to_server, &shared),
                lane(Direction::Down, &mut from_server, to_client, &shared),
            );
            lanes.map_or_else(|end| end, |_| End::Itself)
        } => end,
        end = ended_by_hand(open.number, &shared) => end,
    };
    if !matches!(end, End::Itself) {
        shared.counters.send_modify(|counters| counters.ended_by_proxy += 1);
    }
    if matches!(end, End::Reset) {
        let _ = client.set_zero_linger();
        from_server.unsplit(to_server).reset_on_close();
    }
}

/// Counts the connection as open while it lives, however it ends.
struct Open<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        Open { shared, number: shared.opened() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.closed(self.number);
    }
}

async fn ended_by_hand(number: u64, shared: &Shared) -> End {
    let mut faults = shared.faults.subscribe();
    let marked = |faults: &Faults| number < faults.closed_below.max(faults.reset_below);
    match faults.wait_for(marked).await {
        Ok(faults) if number < faults.reset_below => End::Reset,
        _ => End::Closed,
    }
}

async fn lane(
    direction: Direction,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    shared: &Shared,
) -> Result<(), End> {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    tokio::try_join!(read(direction, from, sender, shared), write(direction, to, receiver, shared),).map(|_| ())
}

async fn read(
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<Chunk>,
    shared: &Shared,
) -> Result<(), End> {
    let mut faults = shared.faults.subscribe();
    let mut last_due = Instant::now();
    loop {
        flowing(direction, &mut faults).await;
        let rate = shared.faults.borrow().lane(direction).bytes_per_second;
        let mut bytes = vec![0; rate.map_or(CHUNK_BYTES, step_bytes)];
        let count = from.read(&mut bytes).await.map_err(broke)?;
        if count == 0 {
            return Ok(());
        }
        bytes.truncate(count);
        let lane = shared.faults.borrow().lane(direction);
        let due = Instant::now() + lane.delay + shared.jitter_below(lane.jitter);
        // Jitter must not let bytes overtake each other.
        last_due = last_due.max(due);
        if chunks.send((last_due, bytes)).await.is_err() {
            return Ok(());
        }
        if let Some(rate) = rate {
            sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
    }
}

async fn write(
    direction: Direction,
    mut to: impl AsyncWrite + Unpin,
    mut chunks: mpsc::Receiver<Chunk>,
    shared: &Shared,
) -> Result<(), End> {
    let mut faults = shared.faults.subscribe();
    while let Some((due, bytes)) = chunks.recv().await {
        sleep_until(due).await;
        flowing(direction, &mut faults).await;
        let (admitted, cut) = shared.admit(direction, bytes.len());
        to.write_all(&bytes[..admitted]).await.map_err(broke)?;
        shared.delivered(direction, admitted);
        if cut {
            return Err(End::Reset);
        }
    }
    flowing(direction, &mut faults).await;
    to.shutdown().await.map_err(broke)
}

/// Waits while the lane is stalled.
async fn flowing(direction: Direction, faults: &mut watch::Receiver<Faults>) {
    // The proxy is gone when this fails, and the connection with it.
    let _ = faults.wait_for(|faults| !faults.lane(direction).stalled).await;
}

fn step_bytes(bytes_per_second: u64) -> usize {
    let steps_per_second = 1_000 / THROTTLE_STEP.as_millis() as u64;
    usize::try_from(bytes_per_second / steps_per_second).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES)
}

fn broke(_: io::Error) -> End {
    End::Itself
}
