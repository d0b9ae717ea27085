//! A rule tried on what is stored: what would it have done? Nothing is published, nothing is counted.

use crate::catalogue::existing;
use crate::domain::event::Event;
use crate::domain::ids::{PartitionId, RuleName, StreamName};
use crate::domain::limits::{HISTORY_BYTES_MAX, RULE_TEST_SHOWN_MAX};
use crate::domain::rule::apply::{Processed, Source, apply};
use crate::domain::rule::{Rule, check_target, rule_not_found};
use crate::domain::stream::{Stream, stream_not_found};
use crate::domain::{Error, Result};
use crate::identity::{Granted, Read};
use crate::rules::Rules;
use crate::store::rules as stored;
use crate::store::{Tenant, log};

/// Rows of one read, and their bytes.
const ROWS: usize = 64;
const BYTES: usize = 2 * 1024 * 1024;
/// Bytes of events that are shown.
const SHOWN_BYTES: usize = 1024 * 1024;

/// What to try, and on how many events.
#[derive(Debug)]
pub struct Trial {
    pub stream: StreamName,
    pub of: TrialOf,
    pub events: u32,
}

#[derive(Debug)]
pub enum TrialOf {
    /// A rule that need not exist.
    Candidate(Box<Rule>),
    /// One of the stream's, as if it were switched on.
    Stored(RuleName),
    /// All that are switched on, in their order.
    All,
}

/// An event that was looked at, and what became of it.
#[derive(Debug)]
pub struct Tried {
    pub partition: u32,
    pub offset: i64,
    pub processed: Processed,
    /// The event as the rules have changed it; None: they have not, or it has no room in the answer.
    pub result: Option<Event>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct TrialReport {
    pub rules: Vec<Rule>,
    pub read: u32,
    pub matched: u32,
    pub dropped: u32,
    pub failed: u32,
    pub copies: u32,
    /// The first that match, by partition and offset.
    pub shown: Vec<Tried>,
    shown_bytes: usize,
}

impl Rules {
    /// Tries rules on the newest events of each partition.
    pub async fn test(&self, granted: &Granted<Read>, trial: &Trial) -> Result<TrialReport> {
        let find = |tenant: Tenant| async move {
            let stream = existing(&tenant, granted, &trial.stream).await?;
            let rules = match &trial.of {
                TrialOf::Candidate(rule) => vec![(**rule).clone()],
                TrialOf::Stored(name) => {
                    let found = stored::find(&tenant, stream.id, name).await?;
                    let found = found.ok_or_else(|| rule_not_found(&trial.stream, name))?;
                    vec![Rule { disabled: false, ..found }]
                }
                TrialOf::All => stored::list(&tenant, stream.id).await?,
            };
            Ok((stream, rules))
        };
        let (stream, rules) = self.store.tenant(granted.organization(), find).await?;
        rules.iter().try_for_each(|rule| check_target("rule.route.stream", &trial.stream, &rule.action))?;
        let mut report = TrialReport { rules, ..TrialReport::default() };
        let share = i64::from(trial.events.div_ceil(stream.partition_count())).max(1);
        let mut bytes_left = HISTORY_BYTES_MAX;
        for (index, partition) in (0..).zip(&stream.partitions) {
            let left = i64::from(trial.events.saturating_sub(report.read));
            if left == 0 || bytes_left == 0 {
                break;
            }
            self.try_on(&stream, (index, *partition), share.min(left), &mut bytes_left, &mut report).await?;
        }
        Ok(report)
    }

    async fn try_on(
        &self,
        stream: &Stream,
        (partition, partition_id): (u32, PartitionId),
        events: i64,
        bytes_left: &mut usize,
        report: &mut TrialReport,
    ) -> Result<()> {
        let db = self.store.conn().await?;
        let gone = || stream_not_found(stream.name.as_str());
        let bounds = log::bounds(&db, &[partition_id]).await?;
        let (floor, end) = bounds.first().map(|(_, _, bounds)| (bounds.floor, bounds.head)).ok_or_else(gone)?;
        let mut next = floor.max(end - events);
        while next < end && *bytes_left > 0 {
            let page = log::read(&db, stream.organization, partition_id, next, BYTES.min(*bytes_left), ROWS).await?;
            let page = page.ok_or_else(gone)?;
            if page.batches.is_empty() {
                break;
            }
            for batch in &page.batches {
                *bytes_left = bytes_left.saturating_sub(batch.encoded.bytes.len());
                let first = (next - batch.base_offset).max(0) as usize;
                let until = (end - batch.base_offset).clamp(0, batch.event_count() as i64) as usize;
                for index in first..until {
                    let offset = batch.base_offset + index as i64;
                    let (encoded, appended_at_us) = (&batch.encoded, batch.appended_at_us);
                    let source = Source {
                        stream: &stream.name,
                        partition,
                        partition_id,
                        offset,
                        appended_at_us,
                        encoded,
                        index,
                    };
                    let processed = apply(&report.rules, &source);
                    report.note(partition, offset, processed, encoded.event(index))?;
                }
                next = batch.end_offset();
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

impl TrialReport {
    fn note(&mut self, partition: u32, offset: i64, mut processed: Processed, stored: Option<Event>) -> Result<()> {
        let stored = stored.ok_or_else(|| Error::internal("a stored event does not decode"))?;
        self.read += 1;
        if processed.matched.is_empty() {
            return Ok(());
        }
        self.matched += 1;
        self.dropped += u32::from(processed.dropped);
        self.failed += u32::from(processed.failure.is_some());
        self.copies += processed.copies.len() as u32;
        if self.shown.len() < RULE_TEST_SHOWN_MAX {
            let event = processed.changed.take().unwrap_or(stored);
            self.shown_bytes += event.size();
            let result = (self.shown_bytes <= SHOWN_BYTES && !processed.dropped).then_some(event);
            self.shown.push(Tried { partition, offset, processed, result });
        }
        Ok(())
    }
}
