//! The task of a consumer: one membership after the other, until it is closed or cannot go on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use eventflow_proto::v1;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    buffer::Buffer,
    ledger::Ledger,
    notice::Notice,
    session::{Session, join},
};
use crate::{
    call::is_transient,
    client::Client,
    connection::backoff,
    error::{Error, ErrorKind, Result, reason},
};

/// How long leaving may take, with its last commit.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Commands of the application that wait for the session.
pub(super) const COMMANDS_MAX: usize = 64;

/// What the application asks for.
#[derive(Debug)]
pub(super) enum Command {
    /// Commit (partition, next offset) pairs; answer once they are durable.
    Commit { positions: Vec<(u32, i64)>, reply: oneshot::Sender<Result<()>> },
    /// Commit what is done, leave, end.
    Close { reply: oneshot::Sender<Result<()>> },
}

/// An explicit commit that is not durable yet.
struct Waiter {
    positions: Vec<(u32, i64)>,
    reply: oneshot::Sender<Result<()>>,
}

/// See the [module](self).
pub(super) struct MemberTask {
    pub(super) client: Client,
    pub(super) request: v1::SubscribeRequest,
    /// The application chose the name, so that somebody else may choose it too.
    pub(super) is_named: bool,
    /// How often what is done is committed. `None`: only when asked to.
    pub(super) auto_commit: Option<Duration>,
    pub(super) buffer: Arc<Buffer>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Commands that came while the consumer was away.
    pub(super) early: VecDeque<Command>,
    pub(super) stop: CancellationToken,
    pub(super) ledger: Ledger,
    pub(super) waiters: Waiters,
    /// Set while the consumer is away: since when.
    pub(super) away_since: Option<Instant>,
}

/// Why a membership ended.
pub(super) enum End {
    /// Closed or dropped: leave the group; tell whoever asked.
    Close(Option<oneshot::Sender<Result<()>>>),
    /// Come back, over another connection.
    Lost,
    /// Come back, over the same connection.
    Again,
    /// The consumer cannot go on.
    Final(Error),
}

/// Explicit commits that are not durable yet.
#[derive(Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a request to commit; refuses it at once when a partition is not held.
    pub(super) fn add(&mut self, ledger: &mut Ledger, positions: Vec<(u32, i64)>, reply: oneshot::Sender<Result<()>>) {
        let mut all_held = true;
        for (partition, next_offset) in &positions {
            all_held &= ledger.done(*partition, *next_offset);
        }
        if all_held {
            self.0.push(Waiter { positions, reply });
        } else {
            let _ = reply.send(Err(not_held()));
        }
    }

    /// Answers those whose commits are durable, or cannot become so.
    pub(super) fn answer(&mut self, ledger: &mut Ledger) {
        let waiters = std::mem::take(&mut self.0);
        for mut waiter in waiters {
            let is_open = |(partition, next_offset): &(u32, i64)| {
                ledger.committed(*partition).is_none_or(|committed| committed < *next_offset)
            };
            waiter.positions.retain(is_open);
            if waiter.positions.is_empty() {
                let _ = waiter.reply.send(Ok(()));
            } else if waiter.positions.iter().any(|(partition, offset)| !ledger.is_done(*partition, *offset)) {
                let _ = waiter.reply.send(Err(not_held()));
            } else {
                self.0.push(waiter);
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        for waiter in std::mem::take(&mut self.0) {
            let _ = waiter.reply.send(Err(error.clone()));
        }
    }
}

fn not_held() -> Error {
    let message =
        "the consumer does not hold the partition at this position; its events come again to whoever holds it";
    Error::new(ErrorKind::FailedPrecondition, reason::PARTITION_NOT_HELD, message)
}

impl MemberTask {
    pub(super) async fn run(mut self, first: Session) {
        let mut session = first;
        let error = loop {
            match self.serve(&mut session).await {
                End::Close(reply) => {
                    let left = timeout(LEAVE_MAX, self.leave(&mut session)).await;
                    if let Some(reply) = reply {
                        let _ = reply.send(left.unwrap_or_else(|_| Err(left_without_commit())));
                    }
                    break None;
                }
                End::Final(error) => break Some(error),
                End::Lost => self.client.connections().leave(&session.connection),
                End::Again => {}
            }
            for commit in session.link.unanswered() {
                self.ledger.unconfirmed(commit);
            }
            self.ledger.disconnected();
            self.away_since = Some(Instant::now());
            drop(session);
            match self.rejoin().await {
                Ok(Some(next)) => session = next,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        self.ledger.end();
        self.waiters.fail(&error.clone().unwrap_or_else(|| Error::closed("consumer")));
        self.buffer.end(error);
    }

    /// A new membership, however long it takes; `None` when the consumer is closed meanwhile.
    async fn rejoin(&mut self) -> Result<Option<Session>> {
        let mut attempt = 0;
        loop {
            let joining = {
                let (client, request) = (self.client.clone(), self.request.clone());
                async move {
                    if attempt > 0 {
                        sleep(backoff(attempt)).await;
                    }
                    join(&client, request).await
                }
            };
            let joined = tokio::select! {
                joined = joining => joined,
                () = self.closed_while_away() => return Ok(None),
            };
            match joined {
                Ok(session) => return Ok(Some(session)),
                Err(error) if self.is_final(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, attempt, "could not join the group; trying again")
                }
            }
            attempt += 1;
        }
    }

    /// Keeps commits for later; returns when the consumer is to be closed. Cancel-safe.
    async fn closed_while_away(&mut self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                command = self.commands.recv(), if self.early.len() < COMMANDS_MAX => match command {
                    Some(Command::Close { reply }) => {
                        let _ = reply.send(Err(left_without_commit()));
                        return;
                    }
                    Some(commit) => self.early.push_back(commit),
                    None => return,
                },
            }
        }
    }

    pub(super) fn is_final(&self, error: &Error) -> bool {
        is_final(error, self.is_named)
    }

    /// Commits what is done and leaves the group.
    async fn leave(&mut self, session: &mut Session) -> Result<()> {
        let mut leaving = None;
        loop {
            if leaving.is_none() && session.link.is_free() {
                let commits = self.ledger.take_commits();
                if commits.is_empty() {
                    leaving = session.link.leave();
                } else {
                    session.link.commit(commits);
                }
            }
            match session.link.next().await? {
                Some(response) if leaving == Some(response.frame_id) => return Ok(()),
                Some(response) => {
                    if let Some(error) = self.committed(session, response) {
                        return Err(error);
                    }
                }
                None if leaving.is_some() => return Ok(()),
                None => return Err(left_without_commit()),
            }
        }
    }
}

impl MemberTask {
    pub(super) fn tell(&self, notice: Notice) {
        // Nobody listens: nobody misses it.
        let _ = self.notices.send(notice);
    }
}

fn left_without_commit() -> Error {
    let message = "the last commit could not be made before leaving; its events come again";
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_LOST, message)
}

/// True when coming back cannot help, or would take the name from whoever has it now.
pub(crate) fn is_final(error: &Error, is_named: bool) -> bool {
    match (error.reason(), error.kind()) {
        ("MEMBER_FENCED", _) => is_named,
        ("TOO_MANY_MEMBERS" | "SLOW_CONSUMER" | "LOG_TRUNCATED" | "SESSION_NOT_FOUND" | "SESSION_ELSEWHERE", _) => {
            false
        }
        (_, ErrorKind::Unavailable) => !is_transient(error),
        (_, kind) => !matches!(
            kind,
            ErrorKind::Aborted
                | ErrorKind::Cancelled
                | ErrorKind::DeadlineExceeded
                | ErrorKind::Internal
                | ErrorKind::ResourceExhausted
                | ErrorKind::Unknown
        ),
    }
}
