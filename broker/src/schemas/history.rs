//! A candidate against what is stored: what would have been refused?

use crate::catalogue::existing;
use crate::domain::ids::PartitionId;
use crate::domain::limits::{HISTORY_BYTES_MAX, VIOLATIONS_MAX};
use crate::domain::schema::{Fault, Validator};
use crate::domain::stream::{Stream, stream_not_found};
use crate::domain::{Error, Result};
use crate::identity::{Granted, Read};
use crate::schemas::{Candidate, Schemas, StreamSchemas};
use crate::store::{Tenant, log};
use std::sync::Arc;

/// Rows of one read, and their bytes.
const ROWS: usize = 64;
const BYTES: usize = 2 * 1024 * 1024;
/// Violations that are named of one event.
const FAULTS_NAMED: usize = 5;

/// A candidate, and how many events to look at.
#[derive(Debug)]
pub struct HistoryCheck {
    pub candidate: Candidate,
    pub events: u32,
}

/// A stored event that the candidate would refuse.
#[derive(Debug)]
pub struct Broken {
    pub partition: u32,
    pub offset: i64,
    pub event_type: String,
    pub faults: Vec<Fault>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct HistoryReport {
    pub read: u32,
    pub checked: u32,
    pub broken: u32,
    /// The first of them.
    pub named: Vec<Broken>,
}

impl Schemas {
    /// Validates the newest events of each partition against a candidate.
    pub async fn check_history(&self, granted: &Granted<Read>, check: &HistoryCheck) -> Result<HistoryReport> {
        let name = &check.candidate.stream;
        let find = |tenant: Tenant| async move { existing(&tenant, granted, name).await };
        let stream = self.store.tenant(granted.organization(), find).await?;
        let others = self.of(&stream).await?;
        let looking = Looking {
            stream: &stream,
            event_type: &check.candidate.event_type,
            others,
            validator: check.candidate.definition.compile()?,
            share: i64::from(check.events.div_ceil(stream.partition_count())).max(1),
        };
        let mut report = HistoryReport::default();
        let mut bytes_left = HISTORY_BYTES_MAX;
        for (index, partition) in (0..).zip(&stream.partitions) {
            let left = check.events.saturating_sub(report.read);
            if left == 0 || bytes_left == 0 {
                break;
            }
            self.look(&looking, index, *partition, i64::from(left), &mut bytes_left, &mut report).await?;
        }
        Ok(report)
    }

    async fn look(
        &self,
        looking: &Looking<'_>,
        index: u32,
        partition: PartitionId,
        left: i64,
        bytes_left: &mut usize,
        report: &mut HistoryReport,
    ) -> Result<()> {
        let stream = looking.stream;
        let db = self.store.conn().await?;
        let gone = || stream_not_found(stream.name.as_str());
        let bounds = log::bounds(&db, &[partition]).await?.first().map(|(_, _, bounds)| *bounds).ok_or_else(gone)?;
        let end = bounds.head;
        let mut next = bounds.floor.max(end - looking.share.min(left));
        while next < end && *bytes_left > 0 {
            let page = log::read(&db, stream.organization, partition, next, BYTES.min(*bytes_left), ROWS).await?;
            let page = page.ok_or_else(gone)?;
            if page.batches.is_empty() {
                break;
            }
            for batch in &page.batches {
                *bytes_left = bytes_left.saturating_sub(batch.encoded.bytes.len());
                let first = (next - batch.base_offset).max(0) as usize;
                let events = (end - batch.base_offset).clamp(0, batch.event_count() as i64) as usize;
                for place in first..events {
                    let offset = batch.base_offset + place as i64;
                    let view = batch.encoded.view(place);
                    let view = view.ok_or_else(|| Error::internal("a stored event does not decode"))?;
                    report.read += 1;
                    if looking.concerns(view.kind) {
                        report.checked += 1;
                        let faults = looking.validator.faults(view.payload);
                        report.note(index, offset, view.kind, faults);
                    }
                }
                next = batch.end_offset();
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

struct Looking<'a> {
    stream: &'a Stream,
    event_type: &'a str,
    others: Arc<StreamSchemas>,
    validator: Validator,
    /// Events of each partition.
    share: i64,
}

impl Looking<'_> {
    /// Whether the candidate would apply to events of a type.
    fn concerns(&self, kind: &str) -> bool {
        kind == self.event_type || (self.event_type.is_empty() && !self.others.has(kind))
    }
}

impl HistoryReport {
    fn note(&mut self, partition: u32, offset: i64, kind: &str, mut faults: Vec<Fault>) {
        if faults.is_empty() {
            return;
        }
        self.broken += 1;
        if self.named.len() < VIOLATIONS_MAX {
            faults.truncate(FAULTS_NAMED);
            self.named.push(Broken { partition, offset, event_type: kind.to_owned(), faults });
        }
    }
}
