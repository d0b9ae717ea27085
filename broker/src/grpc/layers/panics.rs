//! A panic in a service ends its call with INTERNAL, and nothing else.

use crate::domain::{Error, Result};
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the call; the panic hook has logged the place and the backtrace already.
pub(super) async fn caught<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    // Unwind safety: what the panicking call shared is behind locks that tolerate poison, or was its own.
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
}

/// The same for one poll of an answer's body.
pub(super) fn caught_here<T>(poll: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(poll)).map_err(|_| panicked())
}

fn panicked() -> Error {
    Error::internal("the service panicked")
}
