//! A session: the life of one Subscribe stream, as one task.
//!
//! It holds what the group's snapshot says it holds, sends what its window allows, takes commits to the database, and gives
//! partitions up when they are to go. It decides nothing about leases: the database does, the snapshot tells. It never waits for
//! the database in a way that stops its other partitions: reads, commits and releases are futures beside the loop.
//!
//! It ends when the client goes (the member keeps its partitions for a grace), leaves (they are free at once), takes nothing for
//! the silence limit while its stream is full (the same), is fenced by its own name, when the group or the broker's lease is gone,
//! or when the broker drains.

use crate::delivery::control::{CommitAnswer, Control};
use crate::delivery::frame::{Frame, Started};
use crate::delivery::frames::Outlet;
use crate::delivery::held::{Held, InPlace, State};
use crate::delivery::in_order::{Failed, Found};
use crate::delivery::picking::Filtering;
use crate::delivery::pool::{Going, Seat};
use crate::delivery::registry::{CONTROLS, Registration};
use crate::delivery::window::Window;
use crate::delivery::{Deliveries, Subscription, session_expired};
use crate::domain::group::{ConsumerGroup, DeliveryMode, group_not_found};
use crate::domain::position::Fence;
use crate::domain::retry::OnFailure;
use crate::domain::stream::Stream;
use crate::domain::{Error, Reason, Result};
use crate::groups::coordinator::{GroupWatch, View};
use crate::store::log::Page;
use crate::store::membership::{self, GroupSnapshot, GroupVersion, Join, Joined};
use crate::store::progress::Committed;
use crate::tail::Waker;
use crate::telemetry::metrics::{self, Raised};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between attempts to tell the database that a member has gone.
const FAREWELL_RETRY: Duration = Duration::from_millis(250);
/// After which a subscriber that did not read may come again.
const SLOW_RETRY: Duration = Duration::from_secs(1);
/// How often a session without trust looks whether it has come back.
const TRUST_CHECK: Duration = Duration::from_millis(100);

/// How a session ends.
pub(super) enum End {
    /// The stream broke or was closed: the member keeps its partitions for the grace.
    Gone,
    Left,
    /// The subscriber is told why.
    Failed(Error),
    /// Its credential is no longer good: its partitions are free at once.
    Withdrawn,
    /// It does not read: its partitions are free at once, and it is told when it reads again.
    Slow(Error),
}

/// Something that was started beside the loop has finished.
pub(super) enum Done {
    Read {
        partition: u32,
        fence: Fence,
        from: i64,
        page: Result<Option<Page>>,
    },
    Commit {
        outcomes: Vec<(u32, Fence, Result<Committed>)>,
        answers: Vec<CommitAnswer>,
        reply: oneshot::Sender<Vec<CommitAnswer>>,
    },
    Release {
        partitions: Vec<u32>,
        outcome: Result<()>,
    },
    /// A failure was counted.
    Failed(Failed),
    /// What is to be retried in place.
    Looked {
        partition: u32,
        fence: Fence,
        found: Found,
    },
    Skip {
        partition: u32,
        fence: Fence,
        from: i64,
        floor: Result<Option<i64>>,
    },
    /// Progress over what does not match the filter.
    Passed {
        partition: u32,
        fence: Fence,
        outcome: Result<Committed>,
    },
    /// What of the old log epoch is gone: from where, and where the log goes on.
    Compared {
        partition: u32,
        fence: Fence,
        cut: Option<(i64, i64)>,
    },
}

pub(super) struct Session {
    pub parts: Deliveries,
    pub group: Arc<ConsumerGroup>,
    pub stream: Arc<Stream>,
    pub member: String,
    pub id: Uuid,
    /// The group's version after the join: earlier snapshots know nothing of this session.
    since: GroupVersion,
    pub held: BTreeMap<u32, Held>,
    pub window: Window,
    silence_limit: Option<Duration>,
    /// Its place in the group's pool, when members settle events one by one.
    pub seat: Option<Seat>,
    /// The pool is to hear what is held.
    pub holds_changed: bool,
    pub frames: mpsc::Sender<Result<Frame>>,
    /// Frames that must go before any more events.
    pub outbox: VecDeque<Frame>,
    /// Since when the subscriber has taken nothing of a full stream.
    pub blocked: Option<Instant>,
    /// Raised while nothing may be sent before a commit.
    pub window_full: Option<Raised>,
    pub paused: bool,
    pub filtering: Filtering,
    pub waker: Waker,
    /// The partition that is served first in the next round.
    pub turn: u32,
    watch: GroupWatch,
    control: mpsc::Receiver<Control>,
    pub work: FuturesUnordered<BoxFuture<'static, Done>>,
    pub commits_under_way: usize,
    last_heard: Option<Instant>,
    cut: Option<oneshot::Sender<Error>>,
    going: CancellationToken,
    withdrawn: CancellationToken,
    going_away: Option<Instant>,
    _registration: Registration,
}

impl Session {
    /// Joins the group; the first frame is in the outbox.
    pub async fn join(
        parts: Deliveries,
        group: Arc<ConsumerGroup>,
        stream: Arc<Stream>,
        member: String,
        subscription: &Subscription,
        outlet: Outlet,
    ) -> Result<Self> {
        if parts.draining.is_cancelled() {
            return Err(draining());
        }
        let id = Uuid::new_v4();
        let incarnation = parts.trust.incarnation();
        let watch = parts.groups.watch(group.id);
        let (sender, control) = mpsc::channel(CONTROLS);
        let registration = parts.registry.register(id, group.organization, sender);
        let join = Join {
            organization: group.organization,
            group: group.id,
            member: &member,
            session: id,
            broker: incarnation,
            client: &subscription.client,
            client_address: &subscription.client_address,
        };
        let db = parts.store.conn().await?;
        let joined = membership::join(&**db, &join).await?;
        drop(db);
        let (reattached, since) = admitted(joined, &group)?;
        parts.groups.changed(group.id);
        let started = opening(&parts, &group, &stream, (id, &member, reattached));
        let seat = parts.pools.place(&parts, &group, &member, subscription).await;
        metrics::get().sessions.increment(1.0);
        Ok(Self {
            parts,
            group,
            stream,
            member,
            id,
            since,
            held: BTreeMap::new(),
            window: Window::new(subscription.window_events, subscription.window_bytes).in_batches(subscription.batch),
            silence_limit: subscription.silence_limit,
            seat,
            holds_changed: false,
            frames: outlet.queue,
            outbox: VecDeque::from([started]),
            blocked: None,
            window_full: None,
            paused: false,
            filtering: Filtering::default(),
            waker: Waker::default(),
            turn: 0,
            watch,
            control,
            work: FuturesUnordered::new(),
            commits_under_way: 0,
            last_heard: None,
            cut: outlet.cut,
            going: subscription.going.clone(),
            withdrawn: subscription.withdrawn.clone(),
            going_away: None,
            _registration: registration,
        })
    }

    pub async fn run(mut self) -> Result<()> {
        let end = self.serve().await;
        metrics::get().sessions.decrement(1.0);
        // Nothing more of these partitions: others may have them the moment the database knows.
        self.held.clear();
        let left = matches!(end, End::Left | End::Slow(_) | End::Withdrawn);
        if let Some(seat) = self.seat.take() {
            seat.leave(going(&end, self.going_away.is_some())).await;
        }
        match end {
            End::Failed(error) => {
                tracing::debug!(session = %self.id, group = %self.group.name, ?error, "a session ended");
                // A subscriber that does not read does not hear it either.
                let _ = tokio::time::timeout(Duration::from_secs(1), self.frames.send(Err(error))).await;
            }
            End::Slow(error) => {
                tracing::warn!(session = %self.id, group = %self.group.name, member = %self.member, "a subscriber does not read");
                metrics::get().slow_consumers.increment(1);
                // One that has gone does not need to hear it.
                let _ = self.cut.take().map(|cut| cut.send(error));
            }
            // The door tells a subscriber that it is no longer welcome.
            End::Gone | End::Left | End::Withdrawn => {}
        }
        let Self { parts, group, id, .. } = self;
        farewell(&parts, &group, id, left).await;
        Ok(())
    }

    async fn serve(&mut self) -> End {
        let mut view = self.watch.view().clone();
        view.mark_changed();
        let mut incarnations = self.parts.trust.subscribe();
        let mut heartbeat = tokio::time::interval(self.parts.settings.heartbeat);
        heartbeat.reset();
        let (draining, going) = (self.parts.draining.clone(), self.going.clone());
        let withdrawn = self.withdrawn.clone();
        loop {
            self.pump();
            self.commit_skipped();
            self.give_up_settled();
            let (frames, waker) = (self.frames.clone(), self.waker.clone());
            let deadline = self.next_deadline();
            let may_deal = self.seat.is_some() && self.outbox.is_empty() && self.blocked.is_none();
            self.tell_holds().await;
            let end = tokio::select! {
                () = withdrawn.cancelled() => Some(End::Withdrawn),
                // The door closes the stream of a withdrawn credential, too.
                () = frames.closed() => Some(if withdrawn.is_cancelled() { End::Withdrawn } else { End::Gone }),
                changed = view.changed() => match changed {
                    Ok(()) => { let now = view.borrow_and_update().clone(); self.reconcile(now) }
                    Err(_) => Some(End::Failed(crate::delivery::session::draining())),
                },
                control = self.control.recv() => match control { Some(control) => self.obey(control).await, None => None },
                dealt = deal(&mut self.seat), if may_deal => self.pass_on(dealt),
                Some(done) = self.work.next(), if !self.work.is_empty() => self.finish(done),
                permit = frames.reserve(), if self.blocked.is_some() => { drop(permit); self.blocked = None; None }
                () = waker.notified() => None,
                _ = heartbeat.tick() => self.beat(),
                _ = incarnations.changed() => Some(End::Failed(session_expired())),
                () = sleep_until(deadline), if deadline.is_some() => self.deadline_passed(),
                () = draining.cancelled(), if self.going_away.is_none() => {
                    self.go_away();
                    None
                }
                () = going.cancelled(), if self.going_away.is_none() => {
                    self.go_away();
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// The next time at which something must happen by itself.
    fn next_deadline(&self) -> Option<Instant> {
        let drains = self.held.values().filter_map(|held| match held.state {
            State::Draining { deadline, release: false } => Some(deadline),
            _ => None,
        });
        let trust = (!self.parts.trust.holds()).then(|| Instant::now() + TRUST_CHECK);
        let slow = self.blocked.zip(self.silence_limit).map(|(since, limit)| since + limit);
        let retries = self.held.values().filter_map(|held| match held.in_place {
            InPlace::Until(due) => Some(due),
            _ => None,
        });
        drains.chain(retries).chain(self.going_away).chain(trust).chain(slow).min()
    }

    fn deadline_passed(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.going_away.is_some_and(|deadline| deadline <= now) {
            return Some(End::Failed(draining()));
        }
        if let Some((since, limit)) = self.blocked.zip(self.silence_limit)
            && since + limit <= now
        {
            return Some(End::Slow(slow_consumer(limit)));
        }
        for held in self.held.values_mut() {
            if let State::Draining { deadline, release } = &mut held.state {
                *release |= *deadline <= now;
            }
            if matches!(held.in_place, InPlace::Until(due) if due <= now) {
                held.in_place = InPlace::Look;
            }
        }
        None
    }

    fn go_away(&mut self) {
        let grace = self.parts.settings.go_away_grace;
        self.going_away = Some(Instant::now() + grace);
        self.outbox.push_back(Frame::GoAway { reason: Reason::BrokerDraining.as_str(), grace });
    }

    fn beat(&mut self) -> Option<End> {
        let silent = self.last_heard.zip(self.silence_limit).is_some_and(|(heard, limit)| heard.elapsed() > limit);
        if silent {
            let message = "nothing was heard on the session's Commit stream for too long; subscribe again";
            return Some(End::Failed(Error::new(Reason::SessionExpired, message)));
        }
        // One heartbeat waits at most: a subscriber that does not read needs no second.
        self.outbox.retain(|frame| !matches!(frame, Frame::Heartbeat { .. }));
        let partitions = self.held.values().map(Held::progress).collect();
        self.outbox.push_back(Frame::Heartbeat { partitions, paused: self.paused });
        None
    }

    async fn obey(&mut self, control: Control) -> Option<End> {
        let control = match control {
            // Nobody of the member's.
            Control::Tell { partition, reply } => {
                let _ = reply.send(self.tell(partition));
                return None;
            }
            control => control,
        };
        self.last_heard = Some(Instant::now());
        match control {
            Control::Attached | Control::Heartbeat | Control::Tell { .. } => {}
            // Without its Commit stream the session is watched by the transport's keepalive.
            Control::Detached => self.last_heard = None,
            Control::Commit { commits, reply } => self.commit(commits, reply),
            Control::Release { partitions, reply } => self.release(&partitions, reply),
            Control::Outcomes { outcomes, reply } => self.settle(outcomes, reply).await,
            Control::Leave => return Some(End::Left),
        }
        None
    }

    /// Takes in what the database says about the group.
    fn reconcile(&mut self, view: View) -> Option<End> {
        let snapshot = match view {
            View::Unknown => return None,
            View::Gone => return Some(End::Failed(group_not_found(self.group.name.as_str()))),
            View::Known(snapshot) => snapshot,
        };
        if snapshot.group_version() < self.since {
            return None;
        }
        if !snapshot.members.iter().any(|member| member.session == self.id) {
            return Some(End::Failed(self.given_up(&snapshot)));
        }
        self.paused = snapshot.paused;
        self.filtering.set(snapshot.filter.as_ref());
        self.take_over(&snapshot);
        None
    }

    /// Why the database does not know this session any more.
    fn given_up(&self, snapshot: &GroupSnapshot) -> Error {
        if snapshot.log_epoch > self.since.log_epoch {
            let message =
                "the end of the log was cut by a failover or restore, and with it this session; subscribe again";
            return Error::new(Reason::LogTruncated, message);
        }
        if snapshot.members.iter().any(|member| member.name == self.member) {
            let message = format!("member `{}` subscribed again elsewhere; this session has ended", self.member);
            return Error::new(Reason::MemberFenced, message);
        }
        session_expired()
    }
}

/// The first frame.
fn opening(
    parts: &Deliveries,
    group: &ConsumerGroup,
    stream: &Stream,
    (session, member, reattached): (Uuid, &str, bool),
) -> Frame {
    Frame::Started(Started {
        session,
        member: member.to_owned(),
        stream: stream.name.to_string(),
        partition_count: stream.partition_count(),
        broker: parts.settings.broker_name.clone(),
        silence_limit: parts.settings.silence_limit,
        reattached,
        shared: group.mode == DeliveryMode::Shared,
        blocks: group.mode == DeliveryMode::Ordered && group.on_failure == OnFailure::Block,
        ack_timeout: Duration::from_millis(group.ack_timeout_ms.unsigned_abs()),
    })
}

/// What becomes of what the member has not settled. Only a stream that ends for no reason of the broker's counts.
fn going(end: &End, away: bool) -> Going {
    let counts = match end {
        End::Gone => !away,
        End::Slow(_) => true,
        End::Left | End::Withdrawn => false,
        End::Failed(error) => error.reason() == Reason::MemberFenced,
    };
    if counts { Going::Lost } else { Going::Uncounted }
}

async fn deal(seat: &mut Option<Seat>) -> Option<Result<Frame>> {
    match seat {
        Some(seat) => seat.deal().await,
        None => std::future::pending().await,
    }
}

/// Whether the member came back, and the group's version since it is one.
fn admitted(joined: Joined, group: &ConsumerGroup) -> Result<(bool, GroupVersion)> {
    match joined {
        Joined::New { since } => Ok((false, since)),
        Joined::Reattached { since } => Ok((true, since)),
        Joined::GroupNotFound => Err(group_not_found(group.name.as_str())),
        Joined::BrokerExpired => Err(session_expired()),
        Joined::TooManyMembers => {
            let max = crate::domain::limits::MEMBERS_MAX;
            let message = format!("group `{}` has {max} members already", group.name);
            Err(Error::new(Reason::TooManyMembers, message).fact("members_max", max))
        }
    }
}

/// Tells the database that the member has gone, until it knows.
async fn farewell(parts: &Deliveries, group: &ConsumerGroup, session: Uuid, left: bool) {
    loop {
        let told = async {
            let db = parts.store.conn().await?;
            if left {
                membership::leave(&**db, group.organization, group.id, session).await
            } else {
                let grace = parts.settings.member_grace;
                membership::detach(&**db, group.organization, group.id, session, grace).await
            }
        };
        match told.await {
            Ok(()) => break,
            Err(error) => tracing::debug!(?error, "a farewell could not be said; trying again"),
        }
        tokio::time::sleep(FAREWELL_RETRY).await;
    }
    if left {
        parts.groups.changed(group.id);
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The subscriber took nothing for too long.
fn slow_consumer(limit: Duration) -> Error {
    let message = format!(
        "the subscriber took nothing for {} ms while its stream was full, so its partitions were given to others; \
         subscribe again, and read",
        limit.as_millis()
    );
    Error::new(Reason::SlowConsumer, message).fact("silence_limit_ms", limit.as_millis()).retry_after(SLOW_RETRY)
}

/// The broker is shutting down.
pub(crate) fn draining() -> Error {
    Error::new(Reason::BrokerDraining, "the broker is shutting down; subscribe again, another one will serve")
        .retry_after(Duration::from_millis(50))
}
