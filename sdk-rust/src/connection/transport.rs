//! A connection as the generated clients want it, with the credential on every call and the message limits set.

use eventflow_proto::v1::{
    PublishRequest, PublishResponse, alert_service_client::AlertServiceClient,
    api_key_service_client::ApiKeyServiceClient, audit_service_client::AuditServiceClient,
    auth_service_client::AuthServiceClient, consumer_group_service_client::ConsumerGroupServiceClient,
    consumer_service_client::ConsumerServiceClient, dead_letter_service_client::DeadLetterServiceClient,
    log_service_client::LogServiceClient, organization_service_client::OrganizationServiceClient,
    publisher_service_client::PublisherServiceClient, rule_service_client::RuleServiceClient,
    schema_service_client::SchemaServiceClient, stream_service_client::StreamServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    error::{Error, Result},
    options::ClientOptions,
};

/// Room for what surrounds the events of a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = eventflow_proto::limits::MESSAGE_BYTES_MAX + 64 * 1024;

/// A channel that authenticates its calls.
pub(crate) type Authorized = InterceptedService<Channel, Authorize>;

/// Adds `authorization: Bearer <key>`.
#[derive(Clone)]
pub(crate) struct Authorize(Option<MetadataValue<Ascii>>);

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Transport(Authorized);

impl Transport {
    pub(crate) fn new(channel: Channel, options: &ClientOptions) -> Result<Self> {
        let value = match &options.api_key {
            None => None,
            Some(key) => {
                let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.trim())
                    .parse()
                    .map_err(|_| Error::invalid_options("the API key holds characters that no key has"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self(InterceptedService::new(channel, Authorize(value))))
    }

    pub(crate) fn publisher(&self) -> tonic::client::Grpc<Authorized> {
        tonic::client::Grpc::new(self.0.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) async fn publish(&self, request: PublishRequest) -> Result<Response<PublishResponse>, Status> {
        PublisherServiceClient::new(self.0.clone()).publish(request).await
    }

    pub(crate) fn consumers(&self) -> ConsumerServiceClient<Authorized> {
        ConsumerServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn log(&self) -> LogServiceClient<Authorized> {
        LogServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// An answer may hold an event twice: edited, and as it was appended.
    pub(crate) fn dead_letters(&self) -> DeadLetterServiceClient<Authorized> {
        DeadLetterServiceClient::new(self.0.clone()).max_decoding_message_size(2 * MESSAGE_BYTES_MAX)
    }

    pub(crate) fn streams(&self) -> StreamServiceClient<Authorized> {
        StreamServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Authorized> {
        ApiKeyServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Authorized> {
        AuditServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Authorized> {
        AuthServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn organizations(&self) -> OrganizationServiceClient<Authorized> {
        OrganizationServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn users(&self) -> UserServiceClient<Authorized> {
        UserServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn groups(&self) -> ConsumerGroupServiceClient<Authorized> {
        ConsumerGroupServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn rules(&self) -> RuleServiceClient<Authorized> {
        RuleServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn alerts(&self) -> AlertServiceClient<Authorized> {
        AlertServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn schemas(&self) -> SchemaServiceClient<Authorized> {
        SchemaServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
