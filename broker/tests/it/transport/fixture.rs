//! A server of the broker's own pieces, and a log service that misbehaves on request.

use eventflow_broker::{
    config::Reflection,
    domain::Error,
    grpc::{
        accept::{self, Options},
        health,
        layers::{CallLimits, Door, Peer, caller},
        reflection, servers,
    },
    identity::{self, ApiKey, Authenticator, Environment, KeySource},
    limits::{Limits, Rules},
    runtime::{Condition, Kind, Readiness, Tasks, shutdown::Farewell},
    store::keys::StoredKey,
};
use eventflow_proto::v1::{
    CaughtUp, GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse, ReadRequest, ReadResponse,
    log_service_client::LogServiceClient, log_service_server::LogService, read_response::Frame,
};
use futures_util::{Stream, StreamExt, stream};
use std::{collections::HashMap, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, service::Routes, transport::Channel};
use tonic_health::server::HealthReporter;

pub const LIST_EVENTS: &str = "/eventflow.v1.LogService/ListEvents";

/// How the server of a test is set up.
pub struct Setup {
    pub options: Options,
    pub limits: CallLimits,
    pub descriptors: Reflection,
}

impl Default for Setup {
    fn default() -> Self {
        let options = Options {
            max_connections: 1_000,
            handshake_timeout: Duration::from_millis(200),
            age: None,
            age_grace: Duration::from_secs(60),
            tls: None,
        };
        Self { options, limits: CallLimits::default(), descriptors: Reflection::Key }
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub farewell: Farewell,
    pub tasks: Tasks,
    pub readiness: Readiness,
    /// One permit for each call that waits in the service.
    pub entered: Arc<Semaphore>,
    /// Each permit ends one call that waits for it.
    pub release: Arc<Semaphore>,
    pub key: ApiKey,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Self {
        let (farewell, tasks, readiness) = (Farewell::default(), Tasks::new(), Readiness::starting());
        let key = ApiKey::generate(Environment::Test);
        let (entered, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let log = Log { entered: entered.clone(), release: release.clone() };
        let reporter = HealthReporter::new();
        let routes = Routes::default().add_service(servers::log(log)).add_service(health::server(&reporter));
        let routes = reflection::add(routes, setup.descriptors).expect("descriptors");
        let refusing = farewell.refusing.clone();
        let limits = (setup.limits, Limits::new(Rules::default()));
        let door = Door::new(routes, authenticator(&key), setup.descriptors, limits, refusing).expect("door");

        let listener = accept::bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
        let address = listener.local_addr().expect("address");
        let accepting = accept::run(listener, Arc::new(door), tasks.clone(), setup.options, farewell.closing.clone());
        tasks.spawn(Kind::Accept, accepting);
        tasks.spawn(Kind::Watch, health::follow(reporter, readiness.clone(), tasks.stopping()));
        readiness.clear(Condition::Starting);
        Self { address, farewell, tasks, readiness, entered, release, key }
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).expect("uri").connect().await.expect("connect")
    }

    pub async fn client(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel().await)
    }

    /// `message` with the key of this server.
    pub fn keyed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer().parse().expect("header"));
        request
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.key.reveal())
    }

    /// Waits until one more call waits in the service.
    pub async fn one_entered(&self) {
        self.entered.acquire().await.expect("open").forget();
    }

    /// The server is alive and well, as a client with a connection of its own sees it.
    pub async fn serves_others(&self) {
        let answer = self.client().await.list_events(self.keyed(list("hello"))).await.expect("an answer");
        assert_eq!(answer.into_inner().next_page_token, "7");
    }

    /// Closes, and sees that nothing is left running.
    pub async fn stop(self) {
        self.tasks.expect_ends();
        self.farewell.closing.cancel();
        self.tasks.stop();
        self.tasks.wait().await;
        assert_eq!(self.tasks.running(), 0);
    }
}

fn authenticator(key: &ApiKey) -> Authenticator {
    let stored = StoredKey {
        organization_id: 7,
        secret_sha256: key.secret_sha256().to_vec(),
        expired: false,
        revoked: false,
        scopes: vec!["read".to_owned()],
    };
    Authenticator::new(KeySource::Listed(HashMap::from([(key.id(), stored)])))
}

pub fn list(stream: &str) -> ListEventsRequest {
    ListEventsRequest { stream: stream.to_owned(), ..Default::default() }
}

pub fn read(stream: &str) -> ReadRequest {
    ReadRequest { stream: stream.to_owned(), ..Default::default() }
}

/// Does what the name of the stream says.
struct Log {
    entered: Arc<Semaphore>,
    release: Arc<Semaphore>,
}

/// Not in the poll that yields the frame before it: that frame would be lost with the panic.
async fn panic_later() -> Result<ReadResponse, Status> {
    tokio::task::yield_now().await;
    panic!("on purpose, in a stream")
}

#[tonic::async_trait]
impl LogService for Log {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let caller = caller(&request)?;
        let granted = identity::authorize(&caller, identity::Read)?;
        match request.get_ref().stream.as_str() {
            "panic" => panic!("on purpose, in a call"),
            "bug" => Err(Error::internal("relation \"secret_table\" does not exist").into()),
            "forever" => {
                self.entered.add_permits(1);
                std::future::pending().await
            }
            "released" => {
                self.entered.add_permits(1);
                self.release.acquire().await.expect("open").forget();
                Ok(Response::new(ListEventsResponse::default()))
            }
            _ => {
                let next_page_token = granted.organization().0.to_string();
                Ok(Response::new(ListEventsResponse { next_page_token, ..Default::default() }))
            }
        }
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let first = ReadResponse { frame: Some(Frame::CaughtUp(CaughtUp {})) };
        let first = stream::iter([Ok(first)]);
        let peer = request.extensions().get::<Peer>().expect("a peer").clone();
        self.entered.add_permits(1);
        Ok(Response::new(match request.get_ref().stream.as_str() {
            "panic" => first.chain(stream::once(panic_later())).boxed(),
            "polite" => first
                .chain(stream::once(async move {
                    peer.going.cancelled().await;
                    Ok(ReadResponse::default())
                }))
                .boxed(),
            _ => first.chain(stream::pending()).boxed(),
        }))
    }

    async fn get_event(&self, _: Request<GetEventRequest>) -> Result<Response<GetEventResponse>, Status> {
        Err(Error::invalid("offset", "must be set").into())
    }
}
