//! Frames of subscriptions and reads.

use crate::delivery::control::{CommitAnswer, PartitionCommit};
use crate::delivery::frame::{Delivery, Frame, Lease, Progress, Redelivered};
use crate::delivery::reader::ReadFrame;
use crate::domain::position::Fence;
use crate::domain::{Error, Result};
use crate::grpc::convert::event::view;
use crate::grpc::convert::time::timestamp;
use crate::grpc::status::to_error_status;
use bytes::{Bytes, BytesMut};
use eventflow_proto::v1::{self, PayloadView, read_response, subscribe_response::Frame as Wire};
use eventflow_proto::{EncodedBatch, EventBatch};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

/// A batch as readers get it: the part that all share is encoded already.
pub fn batch(delivery: &Delivery, payloads: PayloadView) -> EncodedBatch {
    let encoded = encoded(delivery);
    let head = EventBatch {
        partition: delivery.partition,
        log_epoch: delivery.fence.log_epoch.unsigned_abs(),
        lease_epoch: delivery.fence.lease_epoch.unsigned_abs(),
        base_offset: delivery.base_offset(),
        next_offset: delivery.next_offset(),
        events: Vec::new(),
        offset_deltas: offset_deltas(delivery),
        append_time: Some(timestamp(delivery.batch.appended_at_us)),
        publishers: publishers(delivery),
    };
    if payloads != PayloadView::Text {
        return EncodedBatch { head, encoded };
    }
    // What we encoded ourselves decodes.
    let events = EventBatch::decode(encoded).map(|batch| batch.events).unwrap_or_default();
    EventBatch { events: events.into_iter().map(|event| view(event, payloads)).collect(), ..head }.into()
}

/// The encoded events: a shared slice, unless some between them are left out.
fn encoded(delivery: &Delivery) -> Bytes {
    let encoded = &delivery.batch.encoded;
    match delivery.ranges().as_slice() {
        [range] => encoded.slice(range.clone()),
        ranges => {
            let mut bytes = BytesMut::with_capacity(delivery.bytes());
            ranges.iter().for_each(|range| bytes.extend_from_slice(&encoded.slice(range.clone())));
            bytes.freeze()
        }
    }
}

/// Empty when the events are contiguous.
fn offset_deltas(delivery: &Delivery) -> Vec<u32> {
    match &delivery.picked {
        Some(picked) if delivery.ranges().len() > 1 => picked.iter().map(|index| index - picked[0]).collect(),
        _ => Vec::new(),
    }
}

fn publishers(delivery: &Delivery) -> Vec<v1::PublisherRun> {
    let mut runs: Vec<v1::PublisherRun> = Vec::new();
    for range in delivery.ranges() {
        for (publisher, events) in delivery.batch.publishers.among(&range) {
            match runs.last_mut() {
                Some(last) if *last.publisher == **publisher => last.event_count += events,
                _ => runs.push(publisher_run((publisher, events))),
            }
        }
    }
    runs
}

/// The events of a delivery, one by one, with their positions.
pub fn stored(delivery: &Delivery, payloads: PayloadView) -> Vec<v1::StoredEvent> {
    let partition = delivery.partition;
    let append_time = Some(timestamp(delivery.batch.appended_at_us));
    // What we encoded ourselves decodes.
    let encoded = delivery.batch.encoded.slice(delivery.events.clone());
    let events = EventBatch::decode(encoded).map(|batch| batch.events).unwrap_or_default();
    let runs = delivery.batch.publishers.among(&delivery.events);
    let publishers = runs.flat_map(|(publisher, events)| std::iter::repeat_n(publisher.to_string(), events as usize));
    let publishers = publishers.chain(std::iter::repeat(String::new()));
    let stored = |((offset, mut event), publisher): ((i64, v1::Event), String)| {
        event.id.get_or_insert_with(|| format!("{partition}-{offset}"));
        event.time = event.time.or(append_time);
        v1::StoredEvent {
            partition,
            offset,
            log_epoch: delivery.fence.log_epoch.unsigned_abs(),
            append_time,
            event: Some(view(event, payloads)),
            publisher,
        }
    };
    (delivery.base_offset()..).zip(events).zip(publishers).map(stored).collect()
}

fn publisher_run((publisher, event_count): (&Arc<str>, u32)) -> v1::PublisherRun {
    v1::PublisherRun { publisher: publisher.to_string(), event_count }
}

/// One frame of a subscription. `deadline` turns a remaining time into database time for people; the client counts from now.
pub fn subscribe_response(frame: Frame, payloads: PayloadView, now_us: i64) -> v1::SubscribeResponse {
    let frame = match frame {
        Frame::Batch(delivery) | Frame::Dealt { delivery, .. } => Wire::Batch(batch(&delivery, payloads)),
        Frame::Redelivered { events, .. } => Wire::Redeliveries(v1::Redeliveries {
            events: events.into_iter().map(|event| redelivery(event, payloads)).collect(),
        }),
        Frame::Started(started) => Wire::Session(v1::SessionStarted {
            session_id: started.session.to_string(),
            member_name: started.member,
            stream: started.stream,
            partition_count: started.partition_count,
            broker: started.broker,
            silence_limit: Some(duration(started.silence_limit)),
            reattached: started.reattached,
            shared: started.shared,
            blocks: started.blocks,
            ack_timeout: Some(duration(started.ack_timeout)),
        }),
        Frame::Assigned(leases) => {
            Wire::Assigned(v1::PartitionsAssigned { partitions: leases.into_iter().map(lease).collect() })
        }
        Frame::Revoking { partitions, within } => Wire::Revoking(v1::PartitionsRevoking {
            partitions,
            deadline: Some(timestamp(now_us + within.as_micros() as i64)),
        }),
        Frame::Lost(partitions) => Wire::Lost(v1::PartitionsLost { partitions }),
        Frame::Heartbeat { partitions, paused } => {
            Wire::Heartbeat(v1::SessionHeartbeat { partitions: partitions.into_iter().map(progress).collect(), paused })
        }
        Frame::Repositioned(moved) => Wire::Repositioned(v1::Repositioned { partition: Some(lease(moved)) }),
        Frame::Truncated { partition, from, to, resumed } => Wire::Truncated(v1::Truncated {
            partition,
            from_offset: from,
            to_offset: to,
            log_epoch: crate::domain::position::LogEpoch::of(to).0.unsigned_abs(),
            resumed,
        }),
        Frame::GoAway { reason, grace } => {
            Wire::GoAway(v1::GoAway { reason: reason.to_owned(), grace: Some(duration(grace)) })
        }
    };
    v1::SubscribeResponse { frame: Some(frame) }
}

pub fn redelivery(event: Redelivered, payloads: PayloadView) -> v1::Redelivery {
    v1::Redelivery {
        lease_epoch: event.delivery.fence.lease_epoch.unsigned_abs(),
        // One event alone.
        event: stored(&event.delivery, payloads).pop(),
        attempt: event.attempt,
        last_reason: event.reason,
        last_error_class: event.error_class,
        in_place: event.in_place,
        redriven: event.redriven,
    }
}

fn lease(lease: Lease) -> v1::AssignedPartition {
    v1::AssignedPartition {
        partition: lease.partition,
        log_epoch: lease.fence.log_epoch.unsigned_abs(),
        lease_epoch: lease.fence.lease_epoch.unsigned_abs(),
        next_offset: lease.next_offset,
    }
}

fn progress(progress: Progress) -> v1::PartitionProgress {
    v1::PartitionProgress {
        partition: progress.partition,
        committed_offset: progress.committed,
        next_offset: progress.next_offset,
        head: progress.head,
        lag_events: progress.lag_events,
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// One frame of a read.
pub fn read_response(frame: ReadFrame, payloads: PayloadView) -> v1::ReadResponse {
    let frame = match frame {
        ReadFrame::Batch(delivery) => read_response::Frame::Batch(batch(&delivery, payloads)),
        ReadFrame::CaughtUp => read_response::Frame::CaughtUp(v1::CaughtUp {}),
        ReadFrame::Heartbeat(positions) => read_response::Frame::Heartbeat(v1::ReadHeartbeat {
            positions: positions
                .into_iter()
                .map(|(partition, next_offset, head)| v1::PartitionPosition { partition, next_offset, head })
                .collect(),
        }),
    };
    v1::ReadResponse { frame: Some(frame) }
}

/// Commits of one frame; a partition comes at most once.
pub fn commits(wire: Vec<v1::PartitionCommit>) -> Result<Vec<PartitionCommit>> {
    let mut seen = std::collections::HashSet::new();
    let mut commits = Vec::with_capacity(wire.len());
    for (index, commit) in wire.into_iter().enumerate() {
        let field = |name: &str| format!("commit.commits[{index}].{name}");
        if !seen.insert(commit.partition) {
            return Err(Error::invalid(field("partition"), "comes twice in this frame"));
        }
        let epoch = |name: &str, value: u64| {
            i64::try_from(value).map_err(|_| Error::invalid(field(name), "is not an epoch that was given out"))
        };
        let next_offset =
            commit.next_offset.ok_or_else(|| Error::invalid(field("next_offset"), "must be set; zero is an offset"))?;
        commits.push(PartitionCommit {
            partition: commit.partition,
            fence: Fence {
                log_epoch: epoch("log_epoch", commit.log_epoch)?,
                lease_epoch: epoch("lease_epoch", commit.lease_epoch)?,
            },
            next_offset,
        });
    }
    Ok(commits)
}

pub fn commit_response(frame_id: u64, answers: Vec<CommitAnswer>) -> v1::CommitResponse {
    let result = |answer: CommitAnswer| match answer.outcome {
        Ok(offset) => v1::CommitResult { partition: answer.partition, committed_offset: Some(offset), error: None },
        Err(error) => v1::CommitResult {
            partition: answer.partition,
            committed_offset: None,
            error: Some(to_error_status(&error)),
        },
    };
    v1::CommitResponse { frame_id, results: answers.into_iter().map(result).collect(), failures: Vec::new() }
}
