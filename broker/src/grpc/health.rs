//! `grpc.health.v1`: the broker's readiness, for the whole (empty name) and for each service.

use crate::{
    domain::Result,
    runtime::{Readiness, readiness::Cause},
};
use eventflow_proto::SERVICES;
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, HealthService},
};

/// The service behind `reporter`.
pub fn server(reporter: &HealthReporter) -> HealthServer<impl Health> {
    HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
}

/// Tells the health service what readiness says, until the broker stops. Run it as a task.
pub async fn follow(reporter: HealthReporter, readiness: Readiness, stopping: CancellationToken) -> Result<()> {
    let mut changes = readiness.subscribe();
    loop {
        let status = status_of(&changes.borrow_and_update());
        for service in SERVICES.iter().chain(&[""]) {
            reporter.set_service_status(*service, status).await;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = stopping.cancelled() => return Ok(()),
        }
    }
}

fn status_of(causes: &[Cause]) -> ServingStatus {
    if causes.is_empty() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn every_service_that_is_described_is_asked_after_by_its_name() {
        let set = FileDescriptorSet::decode(eventflow_proto::DESCRIPTORS).expect("descriptors");
        let services = set
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())));
        let mut described: Vec<String> = services.collect();
        let mut known = SERVICES.to_vec();
        described.sort();
        known.sort_unstable();
        assert_eq!(known, described);
    }
}
