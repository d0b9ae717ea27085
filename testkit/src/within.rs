//! A bound on every wait.
//!
//! A test waits for a signal, and the bound only turns "for ever" into a failure with a sentence. It is generous,
//! because a busy machine must not fail a test.

use std::future::Future;
use std::time::Duration;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits `future`, and panics with `what` when [`PATIENCE`] is over.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {} s for {what}", PATIENCE.as_secs()),
    }
}
