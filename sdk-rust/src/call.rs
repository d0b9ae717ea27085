//! Unary calls: every one may be repeated, because reads change nothing and mutations carry a request id.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Response, Status};

use crate::{
    client::Client,
    connection::{Transport, backoff},
    error::{Error, ErrorKind, Result, reason},
};

/// Attempts of one call, within its timeout.
pub(crate) const ATTEMPTS_MAX: u32 = 5;

/// A new request id, which makes a mutation repeatable for a day.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// True when the fault lies with this connection or broker, and another host may do better.
pub(crate) fn is_elsewhere(error: &Error) -> bool {
    matches!(error.reason(), reason::CONNECTION_LOST | "BROKER_DRAINING" | "NOT_READY")
}

/// True when the same call may succeed later.
pub(crate) fn is_transient(error: &Error) -> bool {
    let final_reasons = [
        reason::SERVER_SPEAKS_PLAINTEXT,
        reason::SERVER_SPEAKS_TLS,
        reason::NOT_A_BROKER,
        reason::TLS_FAILED,
        reason::CERTIFICATE_NOT_TRUSTED,
        reason::CERTIFICATE_FOR_ANOTHER_HOST,
        reason::CERTIFICATE_EXPIRED,
        reason::CLIENT_CERTIFICATE_REFUSED,
    ];
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Aborted) && !final_reasons.contains(&error.reason())
}

impl Client {
    /// Makes a call, again where that may help, until it succeeds, fails for good, or the call timeout passes.
    pub(crate) async fn unary<T, F>(&self, call: impl Fn(Transport) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.unary_after(Duration::ZERO, call).await
    }

    /// The same for a call that is not answered before so long.
    pub(crate) async fn unary_after<T, F>(&self, wait: Duration, call: impl Fn(Transport) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let limit = self.connections().options().call_timeout + wait;
        let deadline = Instant::now() + limit;
        let mut attempt = 1;
        loop {
            let error = match timeout_at(deadline, self.attempt(&call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(timed_out(limit)),
            };
            if !is_transient(&error) || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            let pause = error.retry_after().unwrap_or(Duration::ZERO).max(backoff(attempt));
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "a call failed; trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Makes a call that must not be made twice.
    pub(crate) async fn once<T, F>(&self, call: impl FnOnce(Transport) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let limit = self.connections().options().call_timeout;
        let answer = async {
            let connection = self.connections().get().await?;
            call(connection.transport.clone()).await.map(Response::into_inner).map_err(Error::from)
        };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(timed_out(limit)))
    }

    async fn attempt<T, F>(&self, call: impl Fn(Transport) -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let connection = self.connections().get().await?;
        match call(connection.transport.clone()).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let error = Error::from(status);
                if is_elsewhere(&error) {
                    self.connections().leave(&connection);
                }
                Err(error)
            }
        }
    }
}

fn timed_out(limit: Duration) -> Error {
    let message = format!("no answer within {:.1} s", limit.as_secs_f64());
    Error::new(ErrorKind::DeadlineExceeded, reason::TIMED_OUT, message)
}
