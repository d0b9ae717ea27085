//! A lane's connection: makes one call at a time, and makes it again until its outcome is known.

use crate::domain::{Applied, Error, Reason};
use crate::publish::flush::{Flush, FlushEnd};
use crate::publish::lane::LaneParts;
use crate::store::append::{CallTerms, Key, Last, Row, Run, Verdict};
use crate::store::{Connection, DatabaseError, Statement, append, error};
use crate::telemetry::metrics;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// How long a call is repeated before its submissions are told that nobody knows.
const UNKNOWN_AFTER: Duration = Duration::from_secs(20);
/// How long a call that was never sent waits for a connection.
const UNSENT_AFTER: Duration = Duration::from_secs(5);
const BACKOFF: Duration = Duration::from_millis(50);

/// A connection that is opened when needed.
pub struct Line {
    name: String,
    parts: LaneParts,
    open: Option<Open>,
}

/// A connection with the calls that it has prepared.
struct Open {
    connection: Connection,
    append: Statement,
    /// Prepared when it is first needed.
    keyed: Option<Statement>,
}

impl Open {
    /// One call. Only a flush with terms goes to the function that knows them.
    async fn append(&mut self, flush: &Call<'_>, epoch: i64, wait: bool) -> Result<Vec<Verdict>, DatabaseError> {
        if !flush.has_terms {
            return append::append(&self.connection, &self.append, epoch, wait, &flush.runs, &flush.rows).await;
        }
        if self.keyed.is_none() {
            self.keyed = Some(append::prepare_keyed(&self.connection).await?);
        }
        let statement = self.keyed.as_ref().unwrap_or(&self.append);
        let terms = CallTerms { keys: &flush.keys, expected: &flush.expected, last: &flush.last };
        append::append_keyed(&self.connection, statement, epoch, wait, (&flush.runs, &flush.rows), terms).await
    }
}

/// The arguments of a call, made once for all its attempts.
struct Call<'a> {
    has_terms: bool,
    runs: Vec<Run>,
    rows: Vec<Row<'a>>,
    keys: Vec<Key<'a>>,
    expected: Vec<Option<i64>>,
    last: Vec<Last<'a>>,
}

impl Line {
    pub fn new(name: String, parts: LaneParts) -> Self {
        Self { name, parts, open: None }
    }

    /// Opens the connection and makes an empty call, so that the first publish waits for neither: a session of Postgres compiles the
    /// function when it is first called. Its statements are planned by the first call with events. A failure costs only this.
    pub async fn warm(&mut self) {
        let epoch = self.parts.epochs.current();
        let warmed = match self.connection().await {
            Ok(open) => append::append(&open.connection, &open.append, epoch, false, &[], &[])
                .await
                .map(drop)
                .map_err(error::from_postgres),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = warmed {
            tracing::debug!(line = %self.name, ?problem, "a lane could not be warmed; its first publish will wait longer");
        }
    }

    /// Makes the call until it is decisive, or until nobody could be asked for too long.
    pub async fn call(mut self, flush: Flush, wait: bool) -> (Self, Flush, FlushEnd) {
        let end = self.decide(&flush, wait).await;
        (self, flush, end)
    }

    async fn decide(&mut self, flush: &Flush, wait: bool) -> FlushEnd {
        let started = Instant::now();
        let call = Call {
            has_terms: flush.plan.has_terms(),
            runs: flush.runs(),
            rows: flush.rows(),
            keys: flush.keys(),
            expected: flush.expected(),
            last: flush.last(),
        };
        let (runs, rows) = (call.runs.len(), call.rows.len());
        let mut sent = false;
        loop {
            let span = tracing::debug_span!("append", line = %self.name, runs, rows, wait);
            let epochs = self.parts.epochs.clone();
            let problem = match self.connection().await {
                Err(problem) => problem,
                Ok(open) => {
                    sent = true;
                    let warned = open.connection.warnings();
                    let epoch = epochs.current();
                    let asked = Instant::now();
                    // A repeat waits for the lock that the lost call may still hold.
                    let answer = open.append(&call, epoch, wait).instrument(span).await;
                    metrics::get().append_seconds.record(asked.elapsed());
                    match answer {
                        // With a warning the commit may not be where it should be (a cancelled wait for a standby): again.
                        Ok(_) if open.connection.warnings() != warned => {
                            Error::new(Reason::OutcomeUnknown, "the database committed with a warning")
                        }
                        Ok(verdicts) => {
                            metrics::get().flush_events.record(flush.event_count() as f64);
                            self.follow_epoch(&verdicts).await;
                            return FlushEnd::Verdicts(verdicts);
                        }
                        Err(problem) if error::lost_connection(&problem) => error::outcome_unknown(problem),
                        Err(problem) => {
                            let refusal = error::from_postgres(problem);
                            if refusal.reason() != Reason::ConcurrentChange {
                                return FlushEnd::Refused(refusal.applied(Applied::No));
                            }
                            refusal
                        }
                    }
                }
            };
            metrics::get().append_unknown.increment(u64::from(sent));
            tracing::warn!(line = %self.name, ?problem, sent, "an append will be tried again");
            if !sent && started.elapsed() > UNSENT_AFTER {
                return FlushEnd::Refused(problem.applied(Applied::No));
            }
            if started.elapsed() > UNKNOWN_AFTER {
                return FlushEnd::Unknown(error::outcome_unknown(problem));
            }
            if problem.reason() != Reason::ConcurrentChange {
                self.open = None;
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }

    /// The call was told that its log epoch is over: learn the new one before the next call.
    async fn follow_epoch(&mut self, verdicts: &[Verdict]) {
        let over = verdicts.iter().any(|verdict| matches!(verdict.kind, append::VerdictKind::LogEpoch { .. }));
        if let Some(open) = self.open.as_ref().filter(|_| over)
            && self.parts.epochs.check(open.connection.client()).await.is_err()
        {
            self.open = None;
        }
    }

    /// The open connection, or a new one: every new one compares the life of the database first.
    async fn connection(&mut self) -> Result<&mut Open, Error> {
        let usable = self.open.take().filter(|open| !open.connection.is_closed());
        let ready = match usable {
            Some(ready) => ready,
            None => {
                let connection = self.parts.store.connect(&self.name).await?;
                self.parts.epochs.check(connection.client()).await?;
                let append = append::prepare(&connection).await.map_err(error::unavailable)?;
                Open { connection, append, keyed: None }
            }
        };
        Ok(self.open.insert(ready))
    }
}
