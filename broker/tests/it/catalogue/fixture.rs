//! Two organizations, their callers, and the two services.

use eventflow_broker::catalogue::{Catalogue, Changed};
use eventflow_broker::delivery::{explain::Explainer, pool::Pools, registry::Registry};
use eventflow_broker::domain::access::Grants;
use eventflow_broker::domain::audit::Origin;
use eventflow_broker::domain::ids::GroupId;
use eventflow_broker::domain::quota::Quotas;
use eventflow_broker::groups::Trust;
use eventflow_broker::grpc::{consumer_groups::ConsumerGroups, streams::Streams};
use eventflow_broker::identity::{ApiKey, Authenticator, Caller, Environment, KeySource, install_key};
use eventflow_broker::store::{DatabaseUrl, Store};
use eventflow_proto::v1::{
    ConsumerGroup, CreateConsumerGroupRequest, CreateStreamRequest, Position, Stream,
    consumer_group_service_server::ConsumerGroupService, position::At, stream_service_server::StreamService,
};
use eventflow_testkit::Database;
use http::{HeaderMap, header::AUTHORIZATION};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

pub struct Administration {
    pub streams: Streams,
    pub groups: ConsumerGroups,
    pub catalogue: Catalogue,
    pub changes: mpsc::Receiver<GroupId>,
    pub acme: Caller,
    pub other: Caller,
    pub superuser: tokio_postgres::Client,
    _database: Database,
}

impl Administration {
    pub async fn new() -> Self {
        let database = Database::new().await;
        let url = DatabaseUrl::parse(&database.url()).expect("a URL");
        let store = Store::new(url, 8, Duration::from_secs(10)).expect("a store");
        let (sender, changes) = mpsc::channel(64);
        let catalogue = Catalogue::new(store.clone(), Changed::new(sender), Quotas::default());
        let explainer = Explainer {
            catalogue: catalogue.clone(),
            store: store.clone(),
            registry: Registry::default(),
            pools: Pools::default(),
            trust: Trust::new(uuid::Uuid::nil()),
        };
        Self {
            streams: Streams::new(catalogue.clone()),
            groups: ConsumerGroups::new(catalogue.clone(), explainer),
            catalogue,
            changes,
            acme: caller(&store, "acme").await,
            other: caller(&store, "other").await,
            superuser: database.connect().await,
            _database: database,
        }
    }

    /// A request of `acme`.
    pub fn ask<T>(&self, message: T) -> Request<T> {
        by(&self.acme, message)
    }

    pub async fn create_stream(&self, name: &str, partitions: u32) -> Stream {
        let stream = Stream { name: name.to_owned(), partitions, ..Default::default() };
        let request = CreateStreamRequest { stream: Some(stream), ..Default::default() };
        let answer = self.streams.create_stream(self.ask(request)).await;
        answer.expect("created").into_inner().stream.expect("a stream")
    }

    pub async fn create_group(&self, name: &str, stream: &str, at: At) -> ConsumerGroup {
        let group = ConsumerGroup { name: name.to_owned(), stream: stream.to_owned(), ..Default::default() };
        let start = Some(Position { at: Some(at) });
        let request = CreateConsumerGroupRequest { group: Some(group), start, ..Default::default() };
        let answer = self.groups.create_consumer_group(self.ask(request)).await;
        answer.expect("created").into_inner().group.expect("a group")
    }

    /// Appends one row of `count` events of ten bytes, at a time in seconds since 1970. Only the columns that are counted matter.
    pub async fn append(&self, stream: &str, partition: i32, count: i32, at: f64) {
        let rows = self.superuser.execute(include_str!("append_row.sql"), &[&stream, &partition, &count, &at]).await;
        assert_eq!(rows.expect("appended"), 1);
    }

    /// The ids of groups that were announced as changed so far.
    pub fn announced(&mut self) -> Vec<GroupId> {
        std::iter::from_fn(|| self.changes.try_recv().ok()).collect()
    }
}

pub fn by<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

async fn caller(store: &Store, organization: &str) -> Caller {
    let key = ApiKey::generate(Environment::Test);
    let client = store.conn().await.expect("a connection");
    install_key(&**client, organization, &key, "", &Grants::everything()).await.expect("a key");
    let authenticator = Authenticator::new(KeySource::Postgres(store.clone()));
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {}", key.reveal()).parse().expect("a header"));
    let origin = Origin { request_id: "test".into(), method: "test".into(), address: "127.0.0.1".into() };
    authenticator.authenticate(&headers, &origin).await.expect("a caller")
}

/// The reason of a refusal.
pub fn reason<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    let status = answer.expect_err("refused");
    status.get_details_error_info().expect("error info").reason
}

/// One fact of a refusal.
pub fn fact(status: &Status, name: &str) -> String {
    status.get_details_error_info().expect("error info").metadata[name].clone()
}

/// The fields that a refusal names.
pub fn fields<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Vec<String> {
    let details = answer.expect_err("refused").get_details_bad_request().expect("bad request");
    details.field_violations.into_iter().map(|violation| violation.field).collect()
}
