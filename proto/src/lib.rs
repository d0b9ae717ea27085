//! The wire types of EventFlow: everything under `eventflow/v1/*.proto`, clients and servers, and the two facts that every
//! implementation must share to the bit: how a key chooses its partition, and how long things may be.
//!
//! Wire types stop at the edges: the broker converts them in `grpc/convert`, the SDK in `convert`.

mod batch;
pub mod limits;
mod routing;

pub use batch::{EncodedBatch, EventBatch};
pub use routing::partition_of_key;

/// Package `eventflow.v1`.
pub mod v1 {
    #![allow(clippy::all, rustdoc::all, missing_docs)]
    tonic::include_proto!("eventflow.v1");
}

/// The encoded `FileDescriptorSet` of all services with their comments, for reflection and for generators.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Names of all services, as the health service and reflection know them.
pub const SERVICES: &[&str] = &[
    "eventflow.v1.PublisherService",
    "eventflow.v1.ConsumerService",
    "eventflow.v1.LogService",
    "eventflow.v1.StreamService",
    "eventflow.v1.ConsumerGroupService",
    "eventflow.v1.DeadLetterService",
    "eventflow.v1.ApiKeyService",
    "eventflow.v1.AuthService",
    "eventflow.v1.UserService",
    "eventflow.v1.SchemaService",
    "eventflow.v1.RuleService",
    "eventflow.v1.AlertService",
    "eventflow.v1.OrganizationService",
    "eventflow.v1.AuditService",
];
