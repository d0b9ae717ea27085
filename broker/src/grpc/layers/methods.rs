//! The table of methods, from the descriptors, so that it cannot drift from what is served.

use crate::{
    config::Reflection,
    domain::{Error, Reason, Result},
    telemetry::metrics,
};
use ::metrics::{Counter, Histogram};
use eventflow_proto::DESCRIPTORS;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};
use tonic::Code;

/// What is called before there is a credential.
const OPEN: [&str; 7] = [
    "eventflow.v1.AuthService/Register",
    "eventflow.v1.AuthService/Login",
    "eventflow.v1.AuthService/RefreshSession",
    "eventflow.v1.AuthService/Logout",
    "eventflow.v1.AuthService/AcceptInvitation",
    "eventflow.v1.AuthService/RequestPasswordReset",
    "eventflow.v1.AuthService/ResetPassword",
];

/// How a method talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request, one answer: bounded in time.
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many requests.
    ClientStream,
}

/// Who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Whoever has a credential.
    Key,
    /// Everybody.
    Open,
    /// Everybody, even while the broker drains or sheds: probes must be answered.
    Probe,
}

/// One method and its metrics.
pub(super) struct Method {
    /// `eventflow.v1.LogService/Read`, the label and the span's name.
    name: Arc<str>,
    kind: Kind,
    access: Access,
    seconds: Histogram,
    requests: [OnceLock<Counter>; 17],
}

impl Method {
    fn new(name: String, kind: Kind, access: Access) -> Self {
        let seconds = metrics::grpc_seconds(&name);
        Self { name: name.into(), kind, access, seconds, requests: Default::default() }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn needs_key(&self) -> bool {
        self.access == Access::Key
    }

    pub(super) fn is_probe(&self) -> bool {
        self.access == Access::Probe
    }

    /// Counts a call that has ended. Streams are counted, not timed: their length says nothing about the broker.
    pub(super) fn ended(&self, code: Code, seconds: f64) {
        let counter = &self.requests[code as usize];
        counter.get_or_init(|| metrics::grpc_requests(&self.name, word(code))).increment(1);
        if self.kind == Kind::Unary {
            self.seconds.record(seconds);
        }
    }
}

/// All methods, by path.
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

impl Methods {
    pub(super) fn all(descriptors: Reflection) -> Result<Self> {
        let mut by_path = HashMap::new();
        for set in [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            let set = FileDescriptorSet::decode(set).map_err(Error::internal)?;
            for (name, kind) in methods_of(&set) {
                let access = match name.as_str() {
                    probe if probe.starts_with("grpc.health.") => Access::Probe,
                    open if OPEN.contains(&open) => Access::Open,
                    _ => Access::Key,
                };
                add(&mut by_path, name, kind, access);
            }
        }
        let access = match descriptors {
            Reflection::Open => Some(Access::Open),
            Reflection::Key => Some(Access::Key),
            Reflection::Off => None,
        };
        for version in ["v1", "v1alpha"] {
            let name = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            if let Some(access) = access {
                add(&mut by_path, name, Kind::ClientStream, access);
            }
        }
        Ok(Self { by_path, unknown: Arc::new(Method::new("unknown".to_owned(), Kind::Unary, Access::Key)) })
    }

    /// The method at this path, or the row that counts unknown ones.
    pub(super) fn find(&self, path: &str) -> Found {
        match self.by_path.get(path) {
            Some(method) => Found { method: method.clone(), known: true },
            None => Found { method: self.unknown.clone(), known: false },
        }
    }
}

/// A row of the table for one call.
pub(super) struct Found {
    pub(super) method: Arc<Method>,
    pub(super) known: bool,
}

/// What a call to something else is told.
pub(super) fn unknown(path: &str) -> Error {
    let shown: String = path.chars().take(128).filter(|letter| !letter.is_control()).collect();
    let message = format!("this broker has no method `{shown}`; see `grpcurl … list`, or update the broker");
    Error::new(Reason::Unimplemented, message)
}

/// What a browser is told that wants to send a stream: it would be sent whole at the end.
pub(super) fn no_stream_from_a_browser() -> Error {
    let message = "gRPC-Web has no calls that stream requests; use `Publish`, or gRPC";
    Error::new(Reason::Unimplemented, message)
}

fn add(by_path: &mut HashMap<String, Arc<Method>>, name: String, kind: Kind, access: Access) {
    by_path.insert(format!("/{name}"), Arc::new(Method::new(name, kind, access)));
}

fn methods_of(set: &FileDescriptorSet) -> impl Iterator<Item = (String, Kind)> + '_ {
    set.file.iter().flat_map(|file| {
        file.service.iter().flat_map(move |service| {
            let prefix = format!("{}.{}", file.package(), service.name());
            service.method.iter().map(move |method| (format!("{prefix}/{}", method.name()), kind_of(method)))
        })
    })
}

fn kind_of(method: &MethodDescriptorProto) -> Kind {
    match (method.client_streaming(), method.server_streaming()) {
        (true, _) => Kind::ClientStream,
        (false, true) => Kind::ServerStream,
        (false, false) => Kind::Unary,
    }
}

/// The code as the specification writes it.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(descriptors: Reflection, path: &str) -> Found {
        Methods::all(descriptors).expect("descriptors").find(path)
    }

    #[test]
    fn the_table_knows_every_method_and_how_it_talks() {
        for (path, kind) in [
            ("/eventflow.v1.PublisherService/Publish", Kind::Unary),
            ("/eventflow.v1.PublisherService/PublishStream", Kind::ClientStream),
            ("/eventflow.v1.ConsumerService/Subscribe", Kind::ServerStream),
            ("/eventflow.v1.ConsumerService/Commit", Kind::ClientStream),
            ("/eventflow.v1.LogService/Read", Kind::ServerStream),
        ] {
            let found = found(Reflection::Key, path);
            assert!(found.known && found.method.needs_key(), "{path}");
            assert_eq!(found.method.kind(), kind, "{path}");
        }
        assert!(!found(Reflection::Key, "/eventflow.v1.LogService/Nothing").known);
    }

    #[test]
    fn only_what_signs_in_needs_no_credential() {
        let methods = Methods::all(Reflection::Key).expect("descriptors");
        let ours = methods.by_path.iter().filter(|(path, _)| path.starts_with("/eventflow."));
        let mut open: Vec<&str> =
            ours.filter(|(_, method)| !method.needs_key()).map(|(_, method)| &**method.name()).collect();
        open.sort_unstable();
        let mut expected = OPEN;
        expected.sort_unstable();
        assert_eq!(open, expected);
    }

    #[test]
    fn probes_are_open_and_reflection_is_as_configured() {
        let health = found(Reflection::Off, "/grpc.health.v1.Health/Check");
        assert!(health.known && health.method.is_probe() && !health.method.needs_key());
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            assert!(!found(Reflection::Open, &path).method.needs_key());
            assert!(found(Reflection::Key, &path).method.needs_key());
            assert!(!found(Reflection::Off, &path).known);
        }
    }
}
