//! Every metric, once, with its unit and meaning. [`get`] hands out handles that cost an atomic to use.
//!
//! The recorder belongs to the process: brokers in one process (tests) share it.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::LazyLock, time::Duration};

/// How often histograms are folded, so that an unscraped broker does not grow.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of histograms of time, in seconds: from an append in memory to a call at its deadline.
const SECONDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds of histograms of events.
const EVENTS: [f64; 10] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];

/// The handles. Names follow Prometheus: unit last, `_total` for counters.
pub struct Metrics {
    /// Events appended and flushed.
    pub publish_events: Counter,
    /// Bytes of those events.
    pub publish_bytes: Counter,
    /// Events that were repeats of an idempotent producer, answered with their first offsets.
    pub publish_duplicates: Counter,
    /// Events refused before anything was applied.
    pub publish_refused: Counter,
    /// Events refused because their schema refuses them.
    pub schema_refused: Counter,
    /// Events appended although their schema refuses them.
    pub schema_warned: Counter,
    /// From admission to acknowledgement of a request, in seconds.
    pub publish_seconds: Histogram,
    /// Bytes admitted and not yet appended.
    pub publish_in_flight_bytes: Gauge,
    /// One append call, in seconds.
    pub append_seconds: Histogram,
    /// Events of one append call.
    pub flush_events: Histogram,
    /// Append calls whose outcome was unknown at first.
    pub append_unknown: Counter,

    /// Events sent to subscribers and readers.
    pub deliveries: Counter,
    /// Bytes of those events.
    pub delivery_bytes: Counter,
    /// Subscriptions open now.
    pub sessions: Gauge,
    /// Subscriptions whose window is full: nothing is sent before a commit.
    pub full_windows: Gauge,
    /// Subscribers dropped because they did not read.
    pub slow_consumers: Counter,
    /// Streams whose rules this broker helps to run.
    pub rule_pipelines: Gauge,
    /// Events that rules are done with.
    pub rule_events: Counter,
    /// Events that matched a rule, counted for each.
    pub rule_matches: Counter,
    /// Copies that rules have made.
    pub rule_copies: Counter,
    /// Attempts to carry out a rule that failed.
    pub rule_failures: Counter,
    /// Evaluations of alerts.
    pub alert_evaluations: Counter,
    /// Evaluations that failed.
    pub alert_evaluation_failures: Counter,
    /// Alerts that began to fire.
    pub alerts_fired: Counter,
    /// Alerts that stopped.
    pub alerts_resolved: Counter,
    /// Notifications that a webhook took.
    pub webhook_posts_delivered: Counter,
    /// Attempts that failed, and are made again.
    pub webhook_posts_failed: Counter,
    /// Notifications that were given up.
    pub webhook_posts_given_up: Counter,
    /// Bytes in the tail cache.
    pub tail_cache_bytes: Gauge,
    /// Batches served from memory.
    pub tail_hits: Counter,
    /// Batches that had to be read from the log.
    pub tail_misses: Counter,
    /// One read of the log, in seconds.
    pub log_read_seconds: Histogram,

    /// Progress writes of partitions that were kept.
    pub commits: Counter,
    /// Progress writes that were refused, because the lease or its epoch had moved on.
    pub fenced_commits: Counter,
    /// Outcomes of single events.
    pub failed_attempts: Counter,
    pub redeliveries: Counter,
    pub dead_letters: Counter,
    /// One write of gathered progress, in seconds.
    pub commit_seconds: Histogram,
    /// Changes of a group's assignment that this broker applied.
    pub rebalances: Counter,
    /// Renewals of this broker's lease that failed.
    pub lease_renewal_failures: Counter,

    /// Waiting for a pooled connection, in seconds.
    pub pool_wait_seconds: Histogram,
    /// 1 when Postgres answered the last probe.
    pub postgres_up: Gauge,
    /// 1 when Postgres' settings may lose acknowledged events.
    pub durability_unsafe: Gauge,
    /// 1 when data checksums are off.
    pub checksums_off: Gauge,
    /// The database's log epoch.
    pub log_epoch: Gauge,
    /// Runs of jobs that failed.
    pub job_failures: Counter,
    /// Events removed by retention and purges.
    pub reclaimed_events: Counter,

    /// Connections open now, on the gRPC port.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted_connections: Counter,
    /// Connections closed at once: the cap was reached.
    pub rejected_full: Counter,
    /// Connections closed: too many had not yet said what they speak.
    pub rejected_half_open: Counter,
    /// Connections closed: nothing understandable came in time.
    pub rejected_timeout: Counter,
    /// Connections closed: TLS against a plaintext port, or a TLS handshake that failed.
    pub rejected_tls: Counter,
    /// Connections that could not be accepted, for want of file descriptors for example.
    pub accept_errors: Counter,
    /// Connections asked to go because of their age.
    pub aged_connections: Counter,
    /// Calls shed because too many ran.
    pub shed_calls: Counter,
    /// Calls, publishes and streams refused by a quota.
    pub refused_by_quota: Counter,
    /// 1 when rates are shared through Redis, 0 when it is away, or not used.
    pub redis_up: Gauge,
    /// Questions to Redis without an answer.
    pub redis_failures: Counter,
    /// Refusals and failed sign-ins beyond what the audit log lists.
    pub unlisted_refusals: Counter,
    /// Letters that the mail server took.
    pub mails: Counter,
    /// Letters that were given up.
    pub failed_mails: Counter,
    /// Panics, caught.
    pub panics: Counter,
    /// Tasks that ended with a failure.
    pub task_failures: Counter,
}

static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(install);
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    // Handles made before the recorder would count into nothing.
    LazyLock::force(&RECORDER);
    Metrics::new()
});

/// The handles of this process.
pub fn get() -> &'static Metrics {
    &METRICS
}

/// Everything in Prometheus' text format.
pub fn render() -> String {
    LazyLock::force(&METRICS);
    RECORDER.render()
}

/// Folds what histograms have gathered. Call it every [`UPKEEP_INTERVAL`].
pub fn upkeep() {
    RECORDER.run_upkeep();
}

/// One more on a gauge, as long as it lives.
pub struct Raised(Gauge);

impl Raised {
    pub fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Calls by method and code. Keep the handle: there is one for each pair.
pub fn grpc_requests(method: &str, code: &'static str) -> Counter {
    LazyLock::force(&RECORDER);
    counter!("eventflow_grpc_requests_total", "method" => method.to_owned(), "code" => code)
}

/// From the headers of a call to its last byte, in seconds. Keep the handle.
pub fn grpc_seconds(method: &str) -> Histogram {
    LazyLock::force(&RECORDER);
    histogram!("eventflow_grpc_seconds", "method" => method.to_owned())
}

fn install() -> PrometheusHandle {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), &EVENTS))
        .unwrap_or_else(|_| PrometheusBuilder::new());
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("metrics are recorded by somebody else in this process; `/metrics` stays empty");
    }
    describe_labelled();
    handle
}

fn describe_labelled() {
    metrics::describe_counter!("eventflow_grpc_requests_total", Unit::Count, "Calls, by method and code.");
    metrics::describe_histogram!("eventflow_grpc_seconds", Unit::Seconds, "Time of a whole call, by method.");
    metrics::describe_counter!(
        "eventflow_alert_changes_total",
        Unit::Count,
        "Alerts that began to fire, and that stopped."
    );
    metrics::describe_counter!("eventflow_webhook_posts_total", Unit::Count, "Posts to webhooks of alerts, by result.");
}

fn count(name: &'static str, unit: Unit, meaning: &'static str) -> Counter {
    metrics::describe_counter!(name, unit, meaning);
    counter!(name)
}

fn rejected(reason: &'static str) -> Counter {
    counter!("eventflow_rejected_connections_total", "reason" => reason)
}

fn alerts(change: &'static str) -> Counter {
    counter!("eventflow_alert_changes_total", "change" => change)
}

fn posts(result: &'static str) -> Counter {
    counter!("eventflow_webhook_posts_total", "result" => result)
}

fn level(name: &'static str, unit: Unit, meaning: &'static str) -> Gauge {
    metrics::describe_gauge!(name, unit, meaning);
    gauge!(name)
}

fn spread(name: &'static str, unit: Unit, meaning: &'static str) -> Histogram {
    metrics::describe_histogram!(name, unit, meaning);
    histogram!(name)
}

impl Metrics {
    /// The table: one line a metric, in the order of the fields.
    #[rustfmt::skip]
    fn new() -> Self {
        use Unit::{Bytes, Count, Seconds};
        metrics::describe_counter!("eventflow_rejected_connections_total", Count, "Connections closed at the door, by reason.");
        Self {
            publish_events: count("eventflow_publish_events_total", Count, "Events appended and flushed."),
            publish_bytes: count("eventflow_publish_bytes_total", Bytes, "Bytes of the events appended and flushed."),
            publish_duplicates: count("eventflow_publish_duplicates_total", Count, "Repeated events, answered with their first offsets."),
            publish_refused: count("eventflow_publish_refused_total", Count, "Events refused before anything was applied."),
            schema_refused: count("eventflow_schema_refused_events_total", Count, "Events refused because their schema refuses them."),
            schema_warned: count("eventflow_schema_warned_events_total", Count, "Events appended although their schema refuses them."),
            publish_seconds: spread("eventflow_publish_seconds", Seconds, "From admission to acknowledgement of a request."),
            publish_in_flight_bytes: level("eventflow_publish_in_flight_bytes", Bytes, "Bytes admitted and not yet appended."),
            append_seconds: spread("eventflow_append_seconds", Seconds, "One append call."),
            flush_events: spread("eventflow_flush_events", Count, "Events of one append call."),
            append_unknown: count("eventflow_append_unknown_total", Count, "Append calls whose outcome was unknown at first."),
            deliveries: count("eventflow_deliveries_total", Count, "Events sent to subscribers and readers."),
            delivery_bytes: count("eventflow_delivery_bytes_total", Bytes, "Bytes of the events sent."),
            sessions: level("eventflow_sessions", Count, "Subscriptions open now."),
            full_windows: level("eventflow_full_windows", Count, "Subscriptions that wait for commits: their window is full."),
            slow_consumers: count("eventflow_slow_consumers_total", Count, "Subscribers dropped because they did not read."),
            rule_pipelines: level("eventflow_rule_pipelines", Count, "Streams whose rules this broker helps to run."),
            rule_events: count("eventflow_rule_events_total", Count, "Events that rules are done with."),
            rule_matches: count("eventflow_rule_matches_total", Count, "Events that matched a rule, counted for each rule."),
            rule_copies: count("eventflow_rule_copies_total", Count, "Copies of events that rules have made."),
            rule_failures: count("eventflow_rule_failures_total", Count, "Attempts to carry out rules on an event that failed."),
            alert_evaluations: count("eventflow_alert_evaluations_total", Count, "Evaluations of alerts."),
            alert_evaluation_failures: count("eventflow_alert_evaluation_failures_total", Count, "Evaluations of alerts that failed."),
            alerts_fired: alerts("firing"),
            alerts_resolved: alerts("resolved"),
            webhook_posts_delivered: posts("delivered"),
            webhook_posts_failed: posts("failed"),
            webhook_posts_given_up: posts("given_up"),
            tail_cache_bytes: level("eventflow_tail_cache_bytes", Bytes, "Bytes in the tail cache."),
            tail_hits: count("eventflow_tail_hits_total", Count, "Batches served from memory."),
            tail_misses: count("eventflow_tail_misses_total", Count, "Batches read from the log."),
            log_read_seconds: spread("eventflow_log_read_seconds", Seconds, "One read of the log."),
            commits: count("eventflow_commits_total", Count, "Progress writes of partitions that were kept."),
            fenced_commits: count("eventflow_fenced_commits_total", Count, "Progress writes refused by fencing."),
            failed_attempts: count("eventflow_failed_attempts_total", Count, "Attempts at events that failed: nacks, deadlines, lost streams."),
            redeliveries: count("eventflow_redeliveries_total", Count, "Failed events that were delivered again."),
            dead_letters: count("eventflow_dead_letters_total", Count, "Events that groups gave up on."),
            commit_seconds: spread("eventflow_commit_seconds", Seconds, "One write of gathered progress."),
            rebalances: count("eventflow_rebalances_total", Count, "Changes of a group's assignment applied by this broker."),
            lease_renewal_failures: count("eventflow_lease_renewal_failures_total", Count, "Failed renewals of this broker's lease."),
            pool_wait_seconds: spread("eventflow_pool_wait_seconds", Seconds, "Waiting for a pooled connection."),
            postgres_up: level("eventflow_postgres_up", Count, "1 when Postgres answered the last probe."),
            durability_unsafe: level("eventflow_durability_unsafe", Count, "1 when Postgres may lose acknowledged events."),
            checksums_off: level("eventflow_checksums_off", Count, "1 when data checksums are off."),
            log_epoch: level("eventflow_log_epoch", Count, "The database's log epoch."),
            job_failures: count("eventflow_job_failures_total", Count, "Runs of jobs that failed."),
            reclaimed_events: count("eventflow_reclaimed_events_total", Count, "Events removed by retention and purges."),
            connections: level("eventflow_connections", Count, "gRPC connections open now."),
            accepted_connections: count("eventflow_accepted_connections_total", Count, "gRPC connections accepted."),
            rejected_full: rejected("full"),
            rejected_half_open: rejected("half_open"),
            rejected_timeout: rejected("timeout"),
            rejected_tls: rejected("tls"),
            accept_errors: count("eventflow_accept_errors_total", Count, "Connections that could not be accepted."),
            aged_connections: count("eventflow_aged_connections_total", Count, "Connections asked to go because of their age."),
            shed_calls: count("eventflow_shed_calls_total", Count, "Calls shed because too many ran."),
            refused_by_quota: count("eventflow_refused_by_quota_total", Count, "Calls and publishes refused by a quota or rate."),
            redis_up: level("eventflow_redis_up", Count, "1 when rates are shared through Redis, 0 when it is away or not used."),
            redis_failures: count("eventflow_redis_failures_total", Count, "Questions to Redis without an answer; brokers' own rates hold then."),
            unlisted_refusals: count("eventflow_unlisted_refusals_total", Count, "Refusals and failed sign-ins beyond what the audit log lists."),
            mails: count("eventflow_mails_total", Count, "Letters that the mail server took."),
            failed_mails: count("eventflow_failed_mails_total", Count, "Letters that were given up: no room, or the mail server would not take them."),
            panics: count("eventflow_panics_total", Count, "Panics, caught."),
            task_failures: count("eventflow_task_failures_total", Count, "Tasks that ended with a failure."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_with_type_and_meaning() {
        get().publish_events.increment(3);
        get().append_seconds.record(0.003);
        get().rejected_tls.increment(1);
        grpc_requests("eventflow.v1.PublisherService/Publish", "OK").increment(1);
        let text = render();
        for line in [
            "# HELP eventflow_publish_events_total Events appended and flushed.",
            "# TYPE eventflow_publish_events_total counter",
            "eventflow_append_seconds_bucket{le=\"0.004\"} 1",
            "eventflow_rejected_connections_total{reason=\"tls\"}",
            "eventflow_grpc_requests_total{method=\"eventflow.v1.PublisherService/Publish\",code=\"OK\"} 1",
        ] {
            assert!(text.contains(line), "missing: {line}\nin: {text}");
        }
    }
}
