//! A broker for tests: real sockets and real gRPC, a log in memory, and a script for what goes wrong. Several brokers share
//! one [`Database`], as they do in life. Killing one drops its runtime, and with it every connection.

mod admin;
mod consume;
mod publish;
mod read;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use eventflow::{Client, ClientOptions, HostOrder};
use eventflow_proto::v1::{
    self, consumer_service_server::ConsumerServiceServer, log_service_server::LogServiceServer,
    publisher_service_server::PublisherServiceServer, stream_service_server::StreamServiceServer,
};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use consume::Group;
pub use publish::Fault;

/// What all brokers share.
#[derive(Clone)]
pub struct Database(Arc<Mutex<Tables>>, watch::Sender<u64>);

#[derive(Default)]
pub struct Tables {
    pub partitions: u32,
    pub routing_version: u64,
    /// Streams that exist; a missing one is created when it is published to.
    pub missing: bool,
    pub log: BTreeMap<u32, Vec<v1::Event>>,
    pub producers: BTreeMap<(u32, Vec<u8>), publish::Known>,
    /// What goes wrong with the next publish requests, in their order.
    pub faults: VecDeque<Fault>,
    /// Publish requests that were handled.
    pub requests: u64,
    /// Publish streams that were opened.
    pub streams: u64,
    pub group: Group,
}

impl Database {
    pub fn new(partitions: u32) -> Self {
        let tables = Tables { partitions, routing_version: 1, ..Tables::default() };
        Self(Arc::new(Mutex::new(tables)), watch::channel(0).0)
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().expect("no test panics while it holds the tables")
    }

    /// Wakes whoever waits for a change.
    pub fn changed(&self) {
        self.1.send_modify(|version| *version += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }

    /// Waits until a condition holds; brokers and clients are awake meanwhile.
    pub async fn until(&self, condition: impl Fn(&Tables) -> bool) {
        let mut changes = self.changes();
        loop {
            if condition(&self.tables()) {
                return;
            }
            changes.changed().await.expect("the database lives as long as its test");
        }
    }

    /// Payloads of a partition, in order.
    pub fn payloads(&self, partition: u32) -> Vec<String> {
        self.tables().log.get(&partition).into_iter().flatten().map(payload).collect()
    }

    pub fn append(&self, partition: u32, payloads: impl IntoIterator<Item = String>) {
        let event = |payload: String| v1::Event {
            payload: Some(v1::event::Payload::Data(payload.into())),
            ..v1::Event::default()
        };
        self.tables().log.entry(partition).or_default().extend(payloads.into_iter().map(event));
        self.changed();
    }
}

pub fn payload(event: &v1::Event) -> String {
    match &event.payload {
        Some(v1::event::Payload::Data(data)) => String::from_utf8(data.to_vec()).expect("payloads are text"),
        _ => String::new(),
    }
}

/// One broker.
pub struct Broker {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Broker {
    pub fn start(name: &str, database: &Database) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for a broker");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a port for tokio");
        let address = listener.local_addr().expect("an address");
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener).expect("a port for tokio");
        drop(entered);
        let service = Service { name: name.to_owned(), database: database.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(StreamServiceServer::new(service.clone()))
            .add_service(PublisherServiceServer::new(service.clone()).max_decoding_message_size(8 << 20))
            .add_service(LogServiceServer::new(service.clone()))
            .add_service(ConsumerServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.handle().spawn(server);
        Self { address, runtime: Some(runtime) }
    }

    /// As SIGKILL: nothing is said, every connection breaks.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of these brokers, which tries them in this order.
pub async fn client(brokers: &[&Broker]) -> Client {
    let hosts: Vec<String> = brokers.iter().map(|broker| broker.address.to_string()).collect();
    let options = ClientOptions::new(&format!("eventflow://{}", hosts.join(",")))
        .expect("a connection string")
        .api_key("ef_live_test")
        .host_order(HostOrder::AsGiven);
    Client::connect_with(options).await.expect("a broker listens")
}

/// The services of one broker.
#[derive(Clone)]
struct Service {
    name: String,
    database: Database,
}

fn status(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "eventflow", []))
}

fn refusal(code: Code, reason: &str, applied: &str) -> v1::ErrorStatus {
    v1::ErrorStatus {
        code: code as i32,
        reason: reason.to_owned(),
        message: format!("the script says `{reason}`"),
        metadata: [("applied".to_owned(), applied.to_owned())].into(),
        ..Default::default()
    }
}
