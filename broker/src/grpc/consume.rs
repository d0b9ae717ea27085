//! `ConsumerService`: sessions and their commits.

use crate::delivery::control::{CommitAnswer, Control, OutcomeFailure};
use crate::delivery::{Deliveries, Subscription};
use crate::domain::ids::{GroupName, check_member_name};
use crate::domain::limits::{
    CLIENT_BYTES_MAX, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX, WINDOW_EVENTS_DEFAULT, WINDOW_EVENTS_MAX,
};
use crate::domain::{Error, Reason};
use crate::grpc::convert::delivery::{commit_response, commits, subscribe_response};
use crate::grpc::convert::outcome::{outcome_response, outcomes};
use crate::grpc::convert::poll::{self, acknowledge_response, cursor, poll_response, session_id, wait};
use crate::grpc::layers::{Peer, caller};
use crate::identity::{Authenticator, Consume, Granted, Standing, authorize};
use crate::limits::{Limits, Who};
use crate::runtime::clock;
use eventflow_proto::v1::{
    AcknowledgeRequest, AcknowledgeResponse, CommitRequest, CommitResponse, PollRequest, PollResponse,
    SubscribeRequest, SubscribeResponse, commit_request::Frame, consumer_service_server::ConsumerService,
};
use futures_util::stream::{Stream, StreamExt};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Frames of a Commit stream that are under way.
const PIPELINED: usize = 64;
/// How long a Commit stream may take to name its session.
const ATTACH_WAIT: Duration = Duration::from_secs(10);

/// Subscriptions and commits, over the deliveries.
pub struct ConsumeService {
    deliveries: Deliveries,
    authenticator: Authenticator,
    limits: Limits,
}

impl ConsumeService {
    pub fn new(deliveries: Deliveries, authenticator: Authenticator, limits: Limits) -> Self {
        Self { deliveries, authenticator, limits }
    }
}

#[tonic::async_trait]
impl ConsumerService for ConsumeService {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

    async fn subscribe(&self, call: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let granted = authorize(&caller(&call)?, Consume)?;
        let peer = call.extensions().get::<Peer>().cloned();
        let (address, going) = peer.map(|peer| (peer.address.to_string(), peer.going)).unwrap_or_default();
        let payloads = call.get_ref().payload_view();
        let standing = call.extensions().get::<Standing>().cloned().unwrap_or_default();
        let withdrawn = standing.withdrawn().clone();
        let silence_limit = Some(self.deliveries.settings.silence_limit);
        let subscription =
            Subscription { going, withdrawn, silence_limit, ..subscription(call.into_inner(), address)? };
        let frames = self.deliveries.subscribe(&granted, subscription).await?;
        let responses = frames.map(move |frame| match frame {
            Ok(frame) => Ok(subscribe_response(frame, payloads, clock::unix_us())),
            Err(error) => Err(Status::from(error)),
        });
        Ok(Response::new(Box::pin(responses)))
    }

    type CommitStream = ReceiverStream<Result<CommitResponse, Status>>;

    async fn commit(&self, call: Request<Streaming<CommitRequest>>) -> Result<Response<Self::CommitStream>, Status> {
        let granted = authorize(&caller(&call)?, Consume)?;
        let (answers, receiver) = mpsc::channel(PIPELINED);
        let stream = CommitStream { deliveries: self.deliveries.clone(), granted, requests: call.into_inner() };
        self.deliveries.tasks.spawn_call(async move {
            if let Err(error) = stream.run(&answers).await {
                // A client that has gone does not hear it.
                let _ = answers.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn poll(&self, call: Request<PollRequest>) -> Result<Response<PollResponse>, Status> {
        let caller = caller(&call)?;
        let granted = authorize(&caller, Consume)?;
        let (cursor, wait, payloads) = (cursor(call.get_ref())?, wait(call.get_ref())?, call.get_ref().payload_view());
        let polled = match cursor {
            Some(cursor) => self.deliveries.poll(&granted, cursor, wait).await?,
            None => {
                let peer = call.extensions().get::<Peer>();
                let address = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
                let subscription = poll::subscription(call.into_inner(), address)?;
                let who = Who { organization: caller.organization(), credential: caller.publisher() };
                // What the door gives to a stream.
                let held = (self.authenticator.standing(&caller), self.limits.open(&who)?);
                self.deliveries.begin_poll(&granted, subscription, held, wait).await?
            }
        };
        Ok(Response::new(poll_response(&polled, payloads)))
    }

    async fn acknowledge(&self, call: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeResponse>, Status> {
        let granted = authorize(&caller(&call)?, Consume)?;
        let session = session_id(&call.get_ref().session_id)?;
        let request = call.into_inner();
        let (commits, outcomes) = (commits(request.commits)?, outcomes(request.outcomes)?);
        let control = self.deliveries.session(&granted, session).await?;
        let (reply, answers) = oneshot::channel();
        control.send(Control::Commit { commits, reply }).await.map_err(|_| session_gone())?;
        let (reply, failures) = oneshot::channel();
        control.send(Control::Outcomes { outcomes, reply }).await.map_err(|_| session_gone())?;
        let answers = answers.await.map_err(|_| session_gone())?;
        let failures = failures.await.map_err(|_| session_gone())?;
        if request.leave {
            // A session that has ended has left; the database knows when its task is gone.
            let _ = control.send(Control::Leave).await;
            control.closed().await;
        }
        Ok(Response::new(acknowledge_response(answers, failures)))
    }
}

fn subscription(wire: SubscribeRequest, client_address: String) -> Result<Subscription, Error> {
    let group = GroupName::parse("group", &wire.group)?;
    let member = (!wire.member_name.is_empty()).then_some(wire.member_name);
    if let Some(name) = &member {
        check_member_name("member_name", name)?;
    }
    if wire.client.len() > CLIENT_BYTES_MAX || wire.client.contains('\0') {
        return Err(Error::invalid("client", format!("must be at most {CLIENT_BYTES_MAX} bytes without NUL")));
    }
    if wire.window_events > WINDOW_EVENTS_MAX {
        return Err(Error::invalid("window_events", format!("must be at most {WINDOW_EVENTS_MAX}")));
    }
    if wire.window_bytes > WINDOW_BYTES_MAX {
        return Err(Error::invalid("window_bytes", format!("must be at most {WINDOW_BYTES_MAX}")));
    }
    let or_default = |value: u64, default: u64| if value == 0 { default } else { value };
    Ok(Subscription {
        group,
        member,
        window_events: or_default(wire.window_events.into(), WINDOW_EVENTS_DEFAULT.into()) as u32,
        window_bytes: or_default(wire.window_bytes, WINDOW_BYTES_DEFAULT),
        redeliveries: wire.redeliveries,
        batch: (u64::MAX, u64::MAX),
        silence_limit: None,
        client: wire.client,
        client_address,
        going: CancellationToken::new(),
        withdrawn: CancellationToken::new(),
    })
}

/// One Commit stream.
struct CommitStream {
    deliveries: Deliveries,
    granted: Granted<Consume>,
    requests: Streaming<CommitRequest>,
}

type Answers = mpsc::Sender<Result<CommitResponse, Status>>;

impl CommitStream {
    async fn run(mut self, answers: &Answers) -> Result<(), Error> {
        let Some(control) = self.attach(answers).await? else { return Ok(()) };
        let mut last_id = 0;
        let (waiting, outcomes) = mpsc::channel(PIPELINED);
        self.deliveries.tasks.spawn_call(answer_in_order(outcomes, answers.clone()));
        loop {
            // Whatever breaks the stream: the session goes on without it.
            let Ok(Some(request)) = self.requests.message().await else { break };
            if request.frame_id <= last_id {
                return Err(Error::invalid("frame_id", format!("must be above {last_id}, the one before")));
            }
            last_id = request.frame_id;
            let (asked, answer) = asked(request)?;
            let left = matches!(asked, Control::Leave);
            if control.send(asked).await.is_err() {
                return Err(session_gone());
            }
            if waiting.send((last_id, answer)).await.is_err() || left {
                return Ok(());
            }
        }
        // A session that has ended does not need to know.
        let _ = control.send(Control::Detached).await;
        Ok(())
    }

    /// The first frame names the session.
    async fn attach(&mut self, answers: &Answers) -> Result<Option<mpsc::Sender<Control>>, Error> {
        let first = tokio::time::timeout(ATTACH_WAIT, self.requests.message()).await;
        let first = first.map_err(|_| Error::invalid("attach", "must be sent at once, nothing came"))?;
        let Ok(Some(first)) = first else { return Ok(None) };
        let Some(Frame::Attach(attach)) = first.frame else {
            return Err(Error::invalid("attach", "must be the first frame of a Commit stream"));
        };
        let session = attach
            .session_id
            .parse()
            .map_err(|_| Error::invalid("attach.session_id", "is not the id of a session; SessionStarted has it"))?;
        let organization = self.granted.organization();
        let control = self.deliveries.registry.find(&self.deliveries.store, organization, session).await?;
        if control.send(Control::Attached).await.is_err() {
            return Err(session_gone());
        }
        let _ = answers.send(Ok(commit_response(first.frame_id, Vec::new()))).await;
        Ok(Some(control))
    }
}

fn session_gone() -> Error {
    Error::new(Reason::SessionNotFound, "the session has ended; subscribe again")
}

/// The session's answer to come.
enum Pending {
    /// There is nothing to wait for.
    None,
    Commits(oneshot::Receiver<Vec<CommitAnswer>>),
    Outcomes(oneshot::Receiver<Vec<OutcomeFailure>>),
}

/// What a frame asks of the session.
fn asked(request: CommitRequest) -> Result<(Control, Pending), Error> {
    Ok(match request.frame {
        Some(Frame::Commit(progress)) => {
            let (reply, answer) = oneshot::channel();
            (Control::Commit { commits: commits(progress.commits)?, reply }, Pending::Commits(answer))
        }
        Some(Frame::Release(release)) => {
            let (reply, answer) = oneshot::channel();
            (Control::Release { partitions: release.partitions, reply }, Pending::Commits(answer))
        }
        Some(Frame::Outcomes(wire)) => {
            let (reply, answer) = oneshot::channel();
            (Control::Outcomes { outcomes: outcomes(wire.outcomes)?, reply }, Pending::Outcomes(answer))
        }
        Some(Frame::Heartbeat(_)) => (Control::Heartbeat, Pending::None),
        Some(Frame::Leave(_)) => (Control::Leave, Pending::None),
        Some(Frame::Attach(_)) => return Err(Error::invalid("attach", "must be the first frame only")),
        None => return Err(Error::invalid("frame", "must be set")),
    })
}

async fn answer_in_order(mut outcomes: mpsc::Receiver<(u64, Pending)>, answers: Answers) {
    while let Some((frame_id, answer)) = outcomes.recv().await {
        let gone = |_| Status::from(session_gone());
        let response = match answer {
            Pending::None => Ok(commit_response(frame_id, Vec::new())),
            Pending::Commits(answer) => answer.await.map(|results| commit_response(frame_id, results)).map_err(gone),
            Pending::Outcomes(answer) => {
                answer.await.map(|failures| outcome_response(frame_id, failures)).map_err(gone)
            }
        };
        if answers.send(response).await.is_err() {
            return;
        }
    }
}
