//! Polls: sessions whose frames are asked for call by call. The session, its pool and its window are those of a subscription; what
//! is here only keeps the frames between two calls.
//!
//! **Invariants:** a frame leaves the broker with the answer that carries it, so that nobody is held to a deadline for what waits
//! here; the last answer is kept until the next cursor says that it arrived; a session that nobody asks of ends; so does one whose
//! credential is withdrawn, within the same seconds as a stream; a session counts as an open stream as long as it lives.

use crate::delivery::control::Control;
use crate::delivery::frame::{Frame, Started};
use crate::delivery::frames::Frames;
use crate::delivery::session::draining;
use crate::delivery::{Deliveries, Subscription};
use crate::domain::ids::{OrganizationId, StreamName};
use crate::domain::{Error, Reason, Result};
use crate::identity::{Consume, Granted, Standing, withdrawn};
use crate::limits::OpenStream;
use crate::runtime::Kind;
use crate::runtime::clock::since_boot;
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A session lives for so many silence limits without being asked.
const IDLE_LIMITS: u32 = 2;
/// Even a poll that does not wait gives a session that has just begun this long.
const WAIT_MIN: Duration = Duration::from_millis(200);

/// Which answer was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub session: Uuid,
    pub answer: u64,
}

impl Cursor {
    pub fn to_text(self) -> String {
        format!("{}.{}", self.session, self.answer)
    }

    /// The reverse.
    pub fn parse(text: &str) -> Option<Self> {
        let (session, answer) = text.split_once('.')?;
        Some(Self { session: session.parse().ok()?, answer: answer.parse().ok()? })
    }
}

/// What a poll got.
#[derive(Debug)]
pub struct Polled {
    pub cursor: Cursor,
    pub started: Started,
    pub idle: Duration,
    pub frames: Vec<Frame>,
}

/// The polled sessions of this broker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Polls(Arc<Lock<HashMap<Uuid, Arc<Place>>>>);

/// One session between two polls.
struct Place {
    organization: OrganizationId,
    started: Started,
    stream: StreamName,
    batch: (u64, u64),
    used_ms: AtomicU64,
    /// That of whoever began it.
    standing: Standing,
    /// Fires when it is forgotten.
    gone: CancellationToken,
    state: Mutex<State>,
}

struct State {
    frames: Frames,
    /// Collected, and in no answer yet: a poll whose caller has gone loses nothing.
    taken: Vec<Frame>,
    answered: u64,
    last: Arc<Polled>,
}

impl Deliveries {
    /// Makes the caller a member, and polls for the first time. `held` is what a stream would hold as long as it is open.
    pub async fn begin_poll(
        &self,
        granted: &Granted<Consume>,
        subscription: Subscription,
        held: (Standing, Option<OpenStream>),
        wait: Duration,
    ) -> Result<Arc<Polled>> {
        let (batch, (standing, room)) = (subscription.batch, held);
        let subscription = Subscription { withdrawn: standing.withdrawn().clone(), ..subscription };
        let group = self.catalogue.group(granted, &subscription.group).await?;
        let mut frames = self.subscribe(granted, subscription).await?;
        let started = match frames.next().await {
            Some(Ok(Frame::Started(started))) => started,
            Some(Err(error)) => return Err(error),
            _ => return Err(session_gone()),
        };
        let cursor = Cursor { session: started.session, answer: 0 };
        let last = Arc::new(Polled { cursor, started: started.clone(), idle: self.poll_idle(), frames: Vec::new() });
        let place = Arc::new(Place {
            organization: granted.organization(),
            started,
            stream: group.stream.clone(),
            batch,
            used_ms: AtomicU64::new(now_ms()),
            standing,
            gone: CancellationToken::new(),
            state: Mutex::new(State { frames, taken: Vec::new(), answered: 0, last }),
        });
        self.polls.lock().insert(cursor.session, place.clone());
        self.tasks.spawn(Kind::Session, watch(self.clone(), place, room));
        self.poll(granted, cursor, wait).await
    }

    /// The answer behind a cursor: a new one, or the last one again.
    pub async fn poll(&self, granted: &Granted<Consume>, cursor: Cursor, wait: Duration) -> Result<Arc<Polled>> {
        let deadline = Instant::now() + wait.max(WAIT_MIN);
        let organization = granted.organization();
        let place = self.polls.lock().get(&cursor.session).filter(|place| place.organization == organization).cloned();
        let Some(place) = place else {
            // It may live elsewhere. One that lives here was not begun with a poll, or ends at this moment.
            self.registry.find(&self.store, organization, cursor.session).await?;
            return Err(session_gone());
        };
        granted.check(&place.stream)?;
        let mut state = place.state.lock().await;
        place.used();
        let answered = state.answered;
        if cursor.answer + 1 == answered {
            return Ok(state.last.clone());
        }
        if cursor.answer != answered {
            return Err(Error::invalid("cursor", "is not that of the last answer, or of the one before it"));
        }
        let collected = place.collect(&mut state, deadline).await;
        place.used();
        let collected = collected.inspect_err(|_| self.polls.forget(cursor.session));
        collected.map_err(|error| if place.standing.withdrawn().is_cancelled() { withdrawn() } else { error })?;
        let frames = std::mem::take(&mut state.taken);
        let next = Cursor { answer: answered + 1, ..cursor };
        let (started, idle) = (place.started.clone(), self.poll_idle());
        let answer = Arc::new(Polled { cursor: next, started, idle, frames });
        (state.answered, state.last) = (answered + 1, answer.clone());
        Ok(answer)
    }

    /// The way to a session of this organization, for a unary call; polled ones live on.
    pub async fn session(&self, granted: &Granted<Consume>, session: Uuid) -> Result<mpsc::Sender<Control>> {
        if let Some(place) = self.polls.lock().get(&session) {
            place.used();
        }
        self.registry.find(&self.store, granted.organization(), session).await
    }

    fn poll_idle(&self) -> Duration {
        self.settings.silence_limit * IDLE_LIMITS
    }
}

impl Polls {
    /// Dropped, its frames tell the session that the member has gone.
    fn forget(&self, session: Uuid) {
        if let Some(place) = self.lock().remove(&session) {
            place.gone.cancel();
        }
    }

    fn knows(&self, session: Uuid) -> bool {
        self.lock().contains_key(&session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn used(&self) {
        self.used_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Waits for events, then takes what else is there and fits.
    async fn collect(&self, state: &mut State, deadline: Instant) -> Result<()> {
        let State { frames, taken, .. } = state;
        let (mut events, mut bytes) =
            taken.iter().filter_map(Frame::load).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        loop {
            let load = |frame: Option<&Frame>| frame.map(Frame::load);
            let next = if events == 0 {
                timeout_at(deadline, frames.peek()).await.ok().map(load)
            } else {
                frames.peek().now_or_never().map(load)
            };
            match next {
                // The time is over, or nothing more is here.
                None => return Ok(()),
                // The error or the end comes with the next poll.
                Some(None) if !taken.is_empty() => return Ok(()),
                Some(Some(Some((more, size)))) => {
                    if events > 0 && (events + more > self.batch.0 || bytes + size > self.batch.1) {
                        return Ok(());
                    }
                    (events, bytes) = (events + more, bytes + size);
                }
                Some(_) => {}
            }
            match frames.next().await {
                Some(Ok(Frame::GoAway { .. })) if events == 0 => return Err(draining()),
                Some(Ok(Frame::Heartbeat { .. } | Frame::Assigned(_) | Frame::Revoking { .. })) => {}
                Some(Ok(frame)) => taken.push(frame),
                Some(Err(error)) => return Err(error),
                None => return Err(session_gone()),
            }
        }
    }
}

/// Ends a session of which nobody asks anything, or whose credential is withdrawn. `room` is given back when the session has ended,
/// also when nobody has asked yet how.
async fn watch(parts: Deliveries, place: Arc<Place>, mut room: Option<OpenStream>) -> Result<()> {
    let (session, idle) = (place.started.session, parts.poll_idle());
    let control = parts.registry.local(session);
    let ended = async {
        if let Some(control) = control {
            control.closed().await;
        }
    };
    tokio::pin!(ended);
    loop {
        let unused = Duration::from_millis(now_ms().saturating_sub(place.used_ms.load(Ordering::Relaxed)));
        tokio::select! {
            () = sleep(idle.saturating_sub(unused).max(Duration::from_millis(10))) => {}
            () = place.gone.cancelled() => return Ok(()),
            () = place.standing.withdrawn().cancelled() => {
                // The session hears of it by itself, and leaves.
                parts.polls.forget(session);
                return Ok(());
            }
            () = &mut ended, if room.is_some() => room = None,
            () = parts.draining.cancelled() => {
                // The session says so in its time; what it held is not counted then.
                let mut state = place.state.lock().await;
                while parts.polls.knows(session)
                    && let Some(Ok(frame)) = state.frames.next().await
                {
                    if matches!(frame, Frame::GoAway { .. }) {
                        break;
                    }
                }
                parts.polls.forget(session);
                return Ok(());
            }
        }
        // One that is being polled is in use.
        let Ok(_polled) = place.state.try_lock() else {
            place.used();
            continue;
        };
        let unused = now_ms().saturating_sub(place.used_ms.load(Ordering::Relaxed));
        if u128::from(unused) >= idle.as_millis() {
            parts.polls.forget(session);
            return Ok(());
        }
    }
}

fn now_ms() -> u64 {
    since_boot().as_millis() as u64
}

/// The session has ended.
pub fn session_gone() -> Error {
    Error::new(
        Reason::SessionNotFound,
        "no such polled session; it may have ended: poll without a cursor to join the group",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { session: Uuid::new_v4(), answer: 7 };
        assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        assert_eq!(Cursor::parse("x.1"), None);
        assert_eq!(Cursor::parse(&cursor.session.to_string()), None);
    }
}
