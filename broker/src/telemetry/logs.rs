//! Logs to standard error, one line each, and a panic hook that writes to them.
//!
//! OpenTelemetry will be one more layer beside the two formats; the spans it exports exist already.

use crate::config::{Log, LogFormat};
use std::{backtrace::Backtrace, io::IsTerminal, panic};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. Once per process; a second call changes nothing.
pub fn start(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
            registry.with(json.with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Text => {
            let text = fmt::layer().with_ansi(std::io::stderr().is_terminal());
            registry.with(text.with_writer(std::io::stderr)).try_init()
        }
    };
    if started.is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned());
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    metrics_of_panics();
    tracing::error!(panic = text, place, %backtrace, "a panic: this is a bug");
}

fn metrics_of_panics() {
    super::metrics::get().panics.increment(1);
}
