//! The gRPC door: what is served, and how a call gets there.
//!
//! [`accept`] takes connections and speaks HTTP; [`layers`] stand before every call, in the order of `layers/mod.rs`;
//! [`servers`] sets the limits of each service; the services themselves (one file each) authenticate, convert, call, convert;
//! [`status`] is the only mapping of errors. Never here: SQL, decisions, waiting for anything but the services.

pub mod accept;
pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod consume;
pub mod consumer_groups;
pub mod convert;
pub mod dead_letters;
pub mod health;
pub mod layers;
pub mod log;
pub mod organizations;
mod preface;
pub mod publish;
pub mod reflection;
pub mod refresh_cookie;
pub mod rules;
pub mod schemas;
pub mod servers;
pub mod status;
pub mod streams;
pub mod tls;
pub mod users;

use crate::{config::Reflection, domain::Result};
use eventflow_proto::v1::{
    alert_service_server::AlertService, api_key_service_server::ApiKeyService, audit_service_server::AuditService,
    auth_service_server::AuthService, consumer_group_service_server::ConsumerGroupService,
    consumer_service_server::ConsumerService, dead_letter_service_server::DeadLetterService,
    log_service_server::LogService, organization_service_server::OrganizationService,
    publisher_service_server::PublisherService, rule_service_server::RuleService, schema_service_server::SchemaService,
    stream_service_server::StreamService, user_service_server::UserService,
};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

/// The services that administer what there is.
pub struct Administration<S, G, D, R, P, A> {
    pub streams: S,
    pub groups: G,
    pub dead_letters: D,
    pub schemas: R,
    pub rules: P,
    pub alerts: A,
}

/// The services of programs and people.
pub struct Identity<K, A, U, O, L> {
    pub keys: K,
    pub auth: A,
    pub users: U,
    pub organizations: O,
    pub audit: L,
}

/// Everything that this port serves: the table of contents.
pub fn routes(
    publisher: impl PublisherService,
    consumer: impl ConsumerService,
    log: impl LogService,
    administration: Administration<
        impl StreamService,
        impl ConsumerGroupService,
        impl DeadLetterService,
        impl SchemaService,
        impl RuleService,
        impl AlertService,
    >,
    identity: Identity<
        impl ApiKeyService,
        impl AuthService,
        impl UserService,
        impl OrganizationService,
        impl AuditService,
    >,
    health: &HealthReporter,
    descriptors: Reflection,
) -> Result<Routes> {
    let Administration { streams, groups, dead_letters, schemas, rules, alerts } = administration;
    let Identity { keys, auth, users, organizations, audit } = identity;
    let routes = Routes::default()
        .add_service(servers::publisher(publisher))
        .add_service(servers::consumer(consumer))
        .add_service(servers::log(log))
        .add_service(servers::streams(streams))
        .add_service(servers::consumer_groups(groups))
        .add_service(servers::dead_letters(dead_letters))
        .add_service(servers::api_keys(keys))
        .add_service(servers::auth(auth))
        .add_service(servers::users(users))
        .add_service(servers::organizations(organizations))
        .add_service(servers::audit(audit))
        .add_service(servers::schemas(schemas))
        .add_service(servers::rules(rules))
        .add_service(servers::alerts(alerts))
        .add_service(health::server(health));
    Ok(reflection::add(routes, descriptors)?.prepare())
}
