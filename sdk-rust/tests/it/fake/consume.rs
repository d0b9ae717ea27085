//! One group with one member: leases, commits, and frames that a test injects.

use std::{collections::BTreeMap, pin::Pin};

use eventflow_proto::v1::{
    self, commit_request::Frame as Ask, consumer_service_server::ConsumerService, subscribe_response::Frame,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Database, Service, read::batch, refusal, status};

/// What the database knows of the group.
#[derive(Default)]
pub struct Group {
    pub committed: BTreeMap<u32, i64>,
    pub lease_epochs: BTreeMap<u32, u64>,
    pub released: Vec<u32>,
    pub left: bool,
    /// Sessions so far; the last one is the member's.
    pub sessions: u64,
    /// Sends frames, or an error, to the present session.
    pub inject: Option<mpsc::Sender<Result<Frame, Status>>>,
    /// Partitions of which nothing more is sent.
    pub stopped: Vec<u32>,
    /// What the next commits are answered with, for each partition.
    pub commit_refusals: Vec<v1::ErrorStatus>,
    /// Commit streams end at once so often.
    pub broken_commit_streams: u32,
}

impl Group {
    pub fn grant(&self, partition: u32) -> v1::AssignedPartition {
        v1::AssignedPartition {
            partition,
            log_epoch: 0,
            lease_epoch: self.lease_epochs.get(&partition).copied().unwrap_or_default(),
            next_offset: self.committed.get(&partition).copied().unwrap_or_default(),
        }
    }

    /// Raises the lease epoch of a partition, as a re-attachment or a seek does.
    pub fn raise(&mut self, partition: u32) {
        *self.lease_epochs.entry(partition).or_default() += 1;
    }
}

impl Database {
    /// Sends a frame to the member.
    pub async fn inject(&self, frame: Result<Frame, Status>) {
        let inject = self.tables().group.inject.clone().expect("a member");
        inject.send(frame).await.expect("the session runs");
    }
}

type Frames = mpsc::Sender<Result<v1::SubscribeResponse, Status>>;

async fn say(frames: &Frames, frame: Frame) -> bool {
    frames.send(Ok(v1::SubscribeResponse { frame: Some(frame) })).await.is_ok()
}

async fn session(database: Database, broker: String, frames: Frames, member_name: String) {
    let mut changes = database.changes();
    let (inject, mut injected) = mpsc::channel(8);
    let (id, grants) = {
        let mut tables = database.tables();
        tables.group.sessions += 1;
        tables.group.inject = Some(inject);
        let partitions = tables.partitions;
        for partition in 0..partitions {
            tables.group.raise(partition);
        }
        let grants: Vec<_> = (0..partitions).map(|partition| tables.group.grant(partition)).collect();
        (tables.group.sessions, grants)
    };
    database.changed();
    let started = v1::SessionStarted {
        session_id: id.to_string(),
        member_name,
        stream: "orders".into(),
        partition_count: grants.len() as u32,
        broker,
        silence_limit: Some(prost_types::Duration { seconds: 15, nanos: 0 }),
        reattached: id > 1,
        ..Default::default()
    };
    say(&frames, Frame::Session(started)).await;
    let mut positions: BTreeMap<u32, (i64, u64)> =
        grants.iter().map(|grant| (grant.partition, (grant.next_offset, grant.lease_epoch))).collect();
    say(&frames, Frame::Assigned(v1::PartitionsAssigned { partitions: grants })).await;
    loop {
        for (partition, (position, lease_epoch)) in &mut positions {
            let stopped = database.tables().group.stopped.contains(partition);
            while let Some(mut batch) = (!stopped).then(|| batch(&database, *partition, *position)).flatten() {
                *position = batch.next_offset;
                batch.lease_epoch = *lease_epoch;
                if !say(&frames, Frame::Batch(batch.into())).await {
                    return;
                }
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = frames.closed() => return,
            Some(frame) = injected.recv() => match frame {
                Ok(frame) => {
                    if let Frame::Repositioned(v1::Repositioned { partition: Some(grant) }) = &frame {
                        positions.insert(grant.partition, (grant.next_offset, grant.lease_epoch));
                    }
                    if !say(&frames, frame).await {
                        return;
                    }
                }
                Err(status) => {
                    let _ = frames.send(Err(status)).await;
                    return;
                }
            },
        }
    }
}

fn commit(database: &Database, ask: Ask) -> Vec<v1::CommitResult> {
    let mut tables = database.tables();
    let group = &mut tables.group;
    match ask {
        Ask::Commit(progress) => progress
            .commits
            .into_iter()
            .map(|commit| {
                let partition = commit.partition;
                let fenced = group.lease_epochs.get(&partition) != Some(&commit.lease_epoch);
                let error = match group.commit_refusals.pop() {
                    Some(error) => Some(error),
                    None if fenced => Some(refusal(Code::FailedPrecondition, "MEMBER_FENCED", "no")),
                    None => None,
                };
                let committed = group.committed.entry(partition).or_default();
                if error.is_none() {
                    *committed = (*committed).max(commit.next_offset.expect("an offset"));
                }
                v1::CommitResult { partition, committed_offset: Some(*committed), error }
            })
            .collect(),
        Ask::Release(release) => {
            group.released.extend(release.partitions);
            Vec::new()
        }
        Ask::Leave(_) => {
            group.left = true;
            Vec::new()
        }
        Ask::Attach(_) | Ask::Heartbeat(_) | Ask::Outcomes(_) => Vec::new(),
    }
}

#[tonic::async_trait]
impl ConsumerService for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        if request.group != "billing" {
            return Err(status(Code::NotFound, "CONSUMER_GROUP_NOT_FOUND", "no such group"));
        }
        let (frames, sent) = mpsc::channel(4);
        let serve = session(self.database.clone(), self.name.clone(), frames, request.member_name);
        tokio::runtime::Handle::current().spawn(serve);
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    type CommitStream = Pin<Box<dyn Stream<Item = Result<v1::CommitResponse, Status>> + Send>>;

    async fn commit(
        &self,
        request: Request<Streaming<v1::CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        let database = self.database.clone();
        {
            let broken = &mut database.tables().group.broken_commit_streams;
            if *broken > 0 {
                *broken -= 1;
                return Err(status(Code::Internal, "INTERNAL", "the script breaks the commit stream"));
            }
        }
        let (answers, answered) = mpsc::channel(8);
        let mut asked = request.into_inner();
        let serve = async move {
            while let Ok(Some(v1::CommitRequest { frame_id, frame })) = asked.message().await {
                let results = commit(&database, frame.expect("a frame"));
                database.changed();
                if answers.send(Ok(v1::CommitResponse { frame_id, results, failures: Vec::new() })).await.is_err() {
                    return;
                }
            }
        };
        tokio::runtime::Handle::current().spawn(serve);
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }

    async fn poll(&self, _: Request<v1::PollRequest>) -> Result<Response<v1::PollResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn acknowledge(
        &self,
        _: Request<v1::AcknowledgeRequest>,
    ) -> Result<Response<v1::AcknowledgeResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
