//! The Commit stream of a session.

use std::time::Duration;

use eventflow_proto::v1::{
    CommitAttach, CommitHeartbeat, CommitLeave, CommitOutcomes, CommitProgress, CommitRelease, CommitRequest,
    CommitResponse, PartitionCommit, commit_request::Frame,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ledger::Commit;
use crate::{connection::Connection, duplex::Answers};

/// Frames that wait for the connection to take them.
const FRAMES_QUEUED: usize = 8;

/// One Commit stream. One commit is on its way at a time, so that commits are as frequent as they are cheap.
pub(crate) struct Link {
    requests: mpsc::Sender<CommitRequest>,
    answers: Answers<CommitResponse>,
    next_frame: u64,
    /// The commit whose answer is due.
    on_its_way: Option<(u64, Vec<Commit>)>,
    last_sent: Instant,
}

impl Link {
    /// Opens a stream and attaches it to the session.
    pub(crate) fn open(connection: &Connection, session_id: &str) -> Self {
        let (requests, frames) = mpsc::channel(FRAMES_QUEUED);
        let mut consumers = connection.transport.consumers();
        let answers = Answers::opening(async move { consumers.commit(ReceiverStream::new(frames)).await });
        let mut link = Self { requests, answers, next_frame: 1, on_its_way: None, last_sent: Instant::now() };
        link.send(Frame::Attach(CommitAttach { session_id: session_id.to_owned() }));
        link
    }

    /// Queues a frame; `None` when there is no room for it now.
    fn send(&mut self, frame: Frame) -> Option<u64> {
        let permit = self.requests.try_reserve().ok()?;
        let frame_id = self.next_frame;
        self.next_frame += 1;
        self.last_sent = Instant::now();
        permit.send(CommitRequest { frame_id, frame: Some(frame) });
        Some(frame_id)
    }

    /// The next answer; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<CommitResponse>, Status> {
        self.answers.next().await
    }

    /// True when a commit may be sent.
    pub(super) fn is_free(&self) -> bool {
        self.on_its_way.is_none() && self.requests.capacity() > 0
    }

    /// Sends a commit. Only when the link is free.
    pub(super) fn commit(&mut self, commits: Vec<Commit>) {
        let wire = |commit: &Commit| PartitionCommit {
            partition: commit.partition,
            log_epoch: commit.log_epoch,
            lease_epoch: commit.lease_epoch,
            next_offset: Some(commit.next_offset),
        };
        let progress = CommitProgress { commits: commits.iter().map(wire).collect() };
        if let Some(frame_id) = self.send(Frame::Commit(progress)) {
            self.on_its_way = Some((frame_id, commits));
        }
    }

    /// Says what became of events; `None` when there is no room for it now.
    pub(crate) fn outcomes(&mut self, outcomes: CommitOutcomes) -> Option<u64> {
        self.send(Frame::Outcomes(outcomes))
    }

    pub(crate) fn release(&mut self, partitions: Vec<u32>) {
        self.send(Frame::Release(CommitRelease { partitions }));
    }

    /// Says that this side lives, when it has said nothing for a while.
    pub(crate) fn heartbeat(&mut self, every: Duration) {
        if self.last_sent.elapsed() >= every {
            self.send(Frame::Heartbeat(CommitHeartbeat {}));
        }
    }

    /// Leaves the group; the answer carries the frame's id.
    pub(crate) fn leave(&mut self) -> Option<u64> {
        self.send(Frame::Leave(CommitLeave {}))
    }

    /// The commits that an answer is about.
    pub(super) fn answered(&mut self, frame_id: u64) -> Option<Vec<Commit>> {
        self.on_its_way.take_if(|(waiting, _)| *waiting == frame_id).map(|(_, commits)| commits)
    }

    /// The commits whose answer will not come any more.
    pub(super) fn unanswered(&mut self) -> Vec<Commit> {
        self.on_its_way.take().map(|(_, commits)| commits).unwrap_or_default()
    }
}
