//! Each service with the transport's limits: message sizes both ways, counted after decompression, and the encodings.

use crate::domain::limits;
use eventflow_proto::v1::{
    alert_service_server::{AlertService, AlertServiceServer},
    api_key_service_server::{ApiKeyService, ApiKeyServiceServer},
    audit_service_server::{AuditService, AuditServiceServer},
    auth_service_server::{AuthService, AuthServiceServer},
    consumer_group_service_server::{ConsumerGroupService, ConsumerGroupServiceServer},
    consumer_service_server::{ConsumerService, ConsumerServiceServer},
    dead_letter_service_server::{DeadLetterService, DeadLetterServiceServer},
    log_service_server::{LogService, LogServiceServer},
    organization_service_server::{OrganizationService, OrganizationServiceServer},
    publisher_service_server::{PublisherService, PublisherServiceServer},
    rule_service_server::{RuleService, RuleServiceServer},
    schema_service_server::{SchemaService, SchemaServiceServer},
    stream_service_server::{StreamService, StreamServiceServer},
    user_service_server::{UserService, UserServiceServer},
};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};

/// Nobody has a name, a password or a token of this length.
const ACCOUNT_BYTES: usize = 64 * 1024;

/// A full request or batch of `MESSAGE_BYTES_MAX`, with room for the fields around it.
pub const MESSAGE_BYTES: usize = limits::MESSAGE_BYTES_MAX + 64 * 1024;

pub fn publisher<T: PublisherService>(service: T) -> PublisherServiceServer<T> {
    PublisherServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn consumer<T: ConsumerService>(service: T) -> ConsumerServiceServer<T> {
    ConsumerServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn log<T: LogService>(service: T) -> LogServiceServer<T> {
    LogServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn streams<T: StreamService>(service: T) -> StreamServiceServer<T> {
    StreamServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn consumer_groups<T: ConsumerGroupService>(service: T) -> ConsumerGroupServiceServer<T> {
    ConsumerGroupServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

/// An answer may hold an event twice: edited, and as it was appended.
pub fn dead_letters<T: DeadLetterService>(service: T) -> DeadLetterServiceServer<T> {
    DeadLetterServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(2 * MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn schemas<T: SchemaService>(service: T) -> SchemaServiceServer<T> {
    SchemaServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn rules<T: RuleService>(service: T) -> RuleServiceServer<T> {
    RuleServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

/// Some answers hold secrets.
pub fn alerts<T: AlertService>(service: T) -> AlertServiceServer<T> {
    AlertServiceServer::new(service)
        .max_decoding_message_size(ACCOUNT_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
}

/// Answers with secrets are not compressed: their length would tell.
pub fn api_keys<T: ApiKeyService>(service: T) -> ApiKeyServiceServer<T> {
    ApiKeyServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
}

/// Neither requests nor answers are compressed: both hold secrets.
pub fn auth<T: AuthService>(service: T) -> AuthServiceServer<T> {
    AuthServiceServer::new(service).max_decoding_message_size(ACCOUNT_BYTES).max_encoding_message_size(MESSAGE_BYTES)
}

pub fn organizations<T: OrganizationService>(service: T) -> OrganizationServiceServer<T> {
    OrganizationServiceServer::new(service)
        .max_decoding_message_size(ACCOUNT_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

pub fn audit<T: AuditService>(service: T) -> AuditServiceServer<T> {
    AuditServiceServer::new(service)
        .max_decoding_message_size(ACCOUNT_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES)
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

/// Neither requests nor answers are compressed: some answers hold secrets.
pub fn users<T: UserService>(service: T) -> UserServiceServer<T> {
    UserServiceServer::new(service).max_decoding_message_size(ACCOUNT_BYTES).max_encoding_message_size(MESSAGE_BYTES)
}
