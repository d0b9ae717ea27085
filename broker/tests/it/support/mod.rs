//! A broker in this process, on a database of its own, spoken to over real sockets.

pub mod member;
pub mod process;

use eventflow_broker::config::Config;
use eventflow_broker::domain::access::{Grants, Role};
use eventflow_broker::identity::{ApiKey, Environment, install_key, invite_first};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::alert_service_client::AlertServiceClient;
use eventflow_proto::v1::api_key_service_client::ApiKeyServiceClient;
use eventflow_proto::v1::audit_service_client::AuditServiceClient;
use eventflow_proto::v1::auth_service_client::AuthServiceClient;
use eventflow_proto::v1::consumer_group_service_client::ConsumerGroupServiceClient;
use eventflow_proto::v1::consumer_service_client::ConsumerServiceClient;
use eventflow_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use eventflow_proto::v1::log_service_client::LogServiceClient;
use eventflow_proto::v1::organization_service_client::OrganizationServiceClient;
use eventflow_proto::v1::publisher_service_client::PublisherServiceClient;
use eventflow_proto::v1::rule_service_client::RuleServiceClient;
use eventflow_proto::v1::schema_service_client::SchemaServiceClient;
use eventflow_proto::v1::stream_service_client::StreamServiceClient;
use eventflow_proto::v1::user_service_client::UserServiceClient;
use eventflow_proto::v1::{self, Event};
use eventflow_testkit::{Database, WithKey};
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// A database and its keys; brokers are started on it.
pub struct Ground {
    pub database: Database,
}

impl Ground {
    pub async fn new() -> Self {
        Self { database: Database::new().await }
    }

    /// A broker on this database, with settings of the test's own on top.
    pub async fn broker(&self, overrides: &[(&str, &str)]) -> App {
        broker_at(&self.database.url(), overrides).await
    }

    /// Until an append waits for a lock that the test holds.
    pub async fn until_an_append_waits(&self) {
        let client = self.database.connect().await;
        let sql = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%append_v1%'";
        let look = async {
            // poll
            while client.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) == 0 {}
        };
        eventflow_testkit::within("an append that waits", look).await;
    }

    /// A key of an organization, which is made when it is missing, for everything.
    pub async fn key(&self, organization: &str) -> String {
        self.key_for(organization, &["publish", "consume", "read", "manage"]).await
    }

    /// A key with scopes of its own, such as `publish:orders.*`.
    pub async fn key_for(&self, organization: &str, scopes: &[&str]) -> String {
        let (key, grants) = (ApiKey::generate(Environment::Test), Grants::parse("scopes", scopes.iter().copied()));
        let client = self.database.connect().await;
        install_key(&client, organization, &key, "test", &grants.expect("scopes")).await.expect("a key");
        key.reveal()
    }
}

/// What people sign in with in tests.
pub const PASSWORD: &str = "correct horse battery staple";

impl Ground {
    /// An invitation of a new user.
    pub async fn invitation(&self, organization: &str, email: &str, role: Role) -> String {
        let client = self.database.connect().await;
        invite_first(&client, organization, (email, role)).await.expect("invited")
    }

    /// A user with [`PASSWORD`].
    pub async fn user(&self, app: &App, organization: &str, email: &str, role: Role) {
        let token = self.invitation(organization, email, role).await;
        let mut clients = Clients::new(app, "nobody").await;
        let request = v1::AcceptInvitationRequest { token, password: PASSWORD.into() };
        clients.auth.accept_invitation(request).await.expect("accepted");
    }

    /// An access token of a new user.
    pub async fn signed_in(&self, app: &App, organization: &str, email: &str, role: Role) -> String {
        self.user(app, organization, email, role).await;
        login(app, organization, email).await.access_token
    }
}

/// Signs a user in who has [`PASSWORD`].
pub async fn login(app: &App, organization: &str, email: &str) -> v1::SessionTokens {
    let mut clients = Clients::new(app, "nobody").await;
    let answer = clients.auth.login(login_request(organization, email, PASSWORD)).await.expect("signed in");
    answer.into_inner().tokens.expect("tokens")
}

pub fn login_request(organization: &str, email: &str, password: &str) -> v1::LoginRequest {
    v1::LoginRequest {
        organization: organization.into(),
        email: email.into(),
        password: password.into(),
        client: "test".into(),
        session_cookie: false,
    }
}

/// A turn of those tests whose bounds mean something only while no other of them loads the machine.
pub async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// A broker on any database.
pub async fn broker_at(url: &str, overrides: &[(&str, &str)]) -> App {
    let mut settings = vec![
        ("database.url", url),
        // The databases of tests need not survive a power cut.
        ("database.allow_unsafe_durability", "true"),
        ("server.listen", "127.0.0.1:0"),
        ("http.listen", "127.0.0.1:0"),
    ];
    settings.extend_from_slice(overrides);
    let config = Config::from_overrides(&settings).unwrap_or_else(|error| panic!("a configuration: {error}"));
    Box::pin(App::start(config)).await.unwrap_or_else(|error| panic!("a broker: {error:?}"))
}

type Door = InterceptedService<Channel, WithKey>;

/// Clients of all services of one broker, under one key.
#[derive(Clone)]
pub struct Clients {
    pub publisher: PublisherServiceClient<Door>,
    pub consumer: ConsumerServiceClient<Door>,
    pub log: LogServiceClient<Door>,
    pub streams: StreamServiceClient<Door>,
    pub groups: ConsumerGroupServiceClient<Door>,
    // Boxed: few tests need them, and every future of a test holds all clients.
    pub keys: Box<ApiKeyServiceClient<Door>>,
    pub audit: Box<AuditServiceClient<Door>>,
    pub auth: Box<AuthServiceClient<Door>>,
    pub organizations: Box<OrganizationServiceClient<Door>>,
    pub users: Box<UserServiceClient<Door>>,
    pub rules: Box<RuleServiceClient<Door>>,
    pub alerts: Box<AlertServiceClient<Door>>,
    pub schemas: Box<SchemaServiceClient<Door>>,
    pub dead_letters: Box<DeadLetterServiceClient<Door>>,
}

impl Clients {
    pub async fn new(app: &App, key: &str) -> Self {
        Self::at(&format!("http://{}", app.grpc_address()), key).await
    }

    pub async fn at(url: &str, key: &str) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).expect("a url").connect().await.expect("a connection");
        let with_key = WithKey::new(key);
        let limit = 8 << 20;
        Self {
            publisher: PublisherServiceClient::with_interceptor(channel.clone(), with_key.clone()),
            consumer: ConsumerServiceClient::with_interceptor(channel.clone(), with_key.clone())
                .max_decoding_message_size(limit),
            log: LogServiceClient::with_interceptor(channel.clone(), with_key.clone()).max_decoding_message_size(limit),
            streams: StreamServiceClient::with_interceptor(channel.clone(), with_key.clone()),
            groups: ConsumerGroupServiceClient::with_interceptor(channel.clone(), with_key.clone()),
            alerts: Box::new(AlertServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            rules: Box::new(RuleServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            dead_letters: Box::new(DeadLetterServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            keys: Box::new(ApiKeyServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            audit: Box::new(AuditServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            organizations: Box::new(OrganizationServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            auth: Box::new(AuthServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            schemas: Box::new(SchemaServiceClient::with_interceptor(channel.clone(), with_key.clone())),
            users: Box::new(UserServiceClient::with_interceptor(channel, with_key)),
        }
    }

    pub async fn create_stream(&mut self, name: &str, partitions: u32) -> v1::Stream {
        let stream = v1::Stream { name: name.into(), partitions, ..Default::default() };
        let request = v1::CreateStreamRequest { stream: Some(stream), ..Default::default() };
        self.streams.create_stream(request).await.expect("a stream").into_inner().stream.expect("a stream")
    }

    pub async fn create_group(&mut self, name: &str, stream: &str) -> v1::ConsumerGroup {
        let group = v1::ConsumerGroup { name: name.into(), stream: stream.into(), ..Default::default() };
        let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
        self.groups.create_consumer_group(request).await.expect("a group").into_inner().group.expect("a group")
    }

    /// A group with settings of the test's own.
    pub async fn create_group_with(&mut self, group: v1::ConsumerGroup) -> v1::ConsumerGroup {
        let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
        self.groups.create_consumer_group(request).await.expect("a group").into_inner().group.expect("a group")
    }

    pub async fn lag(&mut self, group: &str) -> v1::GetLagResponse {
        let request = v1::GetLagRequest { name: group.into() };
        self.groups.get_lag(request).await.expect("lag").into_inner()
    }

    /// Publishes texts to one partition, without a producer; answers the base offset.
    pub async fn publish(&mut self, stream: &str, partition: u32, texts: &[&str]) -> i64 {
        let events = texts.iter().map(|text| event(text)).collect();
        let request =
            v1::PublishRequest { stream: stream.into(), events, partition: Some(partition), ..Default::default() };
        let response = self.publisher.publish(request).await.expect("published").into_inner();
        appended(&response.results[0]).base_offset
    }
}

pub fn event(text: &str) -> Event {
    Event { payload: Some(v1::event::Payload::Text(text.into())), ..Default::default() }
}

pub fn text(event: &Event) -> String {
    match &event.payload {
        Some(v1::event::Payload::Text(text)) => text.clone(),
        Some(v1::event::Payload::Data(data)) => String::from_utf8(data.to_vec()).expect("text"),
        other => panic!("an event with text, not {other:?}"),
    }
}

pub fn appended(result: &v1::PartitionResult) -> v1::Appended {
    match &result.outcome {
        Some(v1::partition_result::Outcome::Appended(appended)) => appended.clone(),
        other => panic!("an append, not {other:?}"),
    }
}

/// The reason of an error inside an answer.
pub fn refused(result: &v1::PartitionResult) -> (String, std::collections::BTreeMap<String, String>) {
    match &result.outcome {
        Some(v1::partition_result::Outcome::Error(error)) => {
            (error.reason.clone(), error.metadata.clone().into_iter().collect())
        }
        other => panic!("a refusal, not {other:?}"),
    }
}

/// The reason of a status.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_else(|| panic!("a reason in {status:?}"))
}

/// A producer's request for one partition.
pub fn sequenced(
    stream: &str,
    producer: uuid::Uuid,
    epoch: u32,
    first_sequence: i64,
    texts: &[&str],
) -> v1::PublishRequest {
    v1::PublishRequest {
        stream: stream.into(),
        events: texts.iter().map(|text| event(text)).collect(),
        partition: Some(0),
        producer: Some(v1::Producer { id: producer.as_bytes().to_vec().into(), epoch, first_sequence }),
        routing_version: 1,
        ..Default::default()
    }
}
