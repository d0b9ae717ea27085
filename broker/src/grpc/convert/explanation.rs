//! Why an event is, or is not, delivered.

use crate::domain::explanation::{Explanation, Verdict};
use crate::domain::ids::GroupName;
use crate::domain::{Error, Result};
use crate::grpc::convert::time::timestamp;
use eventflow_proto::v1::{self, DeliveryStatus};

/// Group, partition and offset.
pub fn place(request: &v1::ExplainEventRequest) -> Result<(GroupName, u32, i64)> {
    let name = GroupName::parse("name", &request.name)?;
    let offset = request.offset.filter(|offset| *offset >= 0);
    let offset = offset.ok_or_else(|| Error::invalid("offset", "must be set, and an offset; zero is one"))?;
    Ok((name, request.partition, offset))
}

impl From<Explanation> for v1::ExplainEventResponse {
    fn from(found: Explanation) -> Self {
        let (broker, broker_address) = found.broker.map(|at| (at.name, at.address)).unwrap_or_default();
        Self {
            status: status(found.verdict).into(),
            explanation: found.sentence,
            member: found.member,
            broker,
            broker_address,
            since: found.since.map(timestamp),
            until: found.until.map(timestamp),
            attempt: found.attempt,
            reason: found.reason,
            error_class: found.error_class,
            behind_offset: found.behind,
        }
    }
}

fn status(verdict: Verdict) -> DeliveryStatus {
    match verdict {
        Verdict::NotAppended => DeliveryStatus::NotAppended,
        Verdict::Removed => DeliveryStatus::Removed,
        Verdict::BeforeStart => DeliveryStatus::BeforeStart,
        Verdict::Filtered => DeliveryStatus::Filtered,
        Verdict::Done => DeliveryStatus::Done,
        Verdict::DeadLettered => DeliveryStatus::DeadLettered,
        Verdict::InFlight => DeliveryStatus::InFlight,
        Verdict::RetryWaiting => DeliveryStatus::RetryWaiting,
        Verdict::BehindRetry => DeliveryStatus::BehindRetry,
        Verdict::WindowFull => DeliveryStatus::WindowFull,
        Verdict::Paused => DeliveryStatus::Paused,
        Verdict::NoMembers => DeliveryStatus::NoMembers,
        Verdict::WaitsForSeek => DeliveryStatus::WaitsForSeek,
        Verdict::AtOtherBroker => DeliveryStatus::AtOtherBroker,
        Verdict::Waiting => DeliveryStatus::Waiting,
        Verdict::BehindKey => DeliveryStatus::BehindKey,
        Verdict::KeyBacklog => DeliveryStatus::KeyBacklog,
        Verdict::Delayed => DeliveryStatus::Delayed,
    }
}
