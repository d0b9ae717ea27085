//! The plaintext port: `/livez`, `/readyz`, `/metrics`, for probes and scrapers, and the keys that verify access tokens. Of tenants it shows the names of groups, with their
//! lag and how many of their alerts fire, and nothing else.
//!
//! It lives as long as the process does its work: while the broker drains, `/readyz` says so.

mod pages;

use crate::{
    domain::{Error, Result, public_keys::PublicKeys},
    runtime::{Kind, Readiness, Tasks},
    telemetry::{alerts::AlertBoard, lag::LagBoard, metrics},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};

/// A handful of probes and scrapers; more is a mistake or an attack.
const CONNECTIONS_MAX: usize = 128;
/// Longest life of a connection, and so of a request.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 16 * 1024;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// What the pages show. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    pub readiness: Readiness,
    pub lags: LagBoard,
    pub alerts: AlertBoard,
    pub public_keys: PublicKeys,
}

/// Serves until the tasks are asked to stop.
pub async fn run(listener: TcpListener, pages: Pages, tasks: Tasks) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = tasks.stopping();
    let mut upkeep = interval(metrics::UPKEEP_INTERVAL);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Whoever shows the metrics also keeps them small.
            _ = upkeep.tick() => {
                metrics::upkeep();
                continue;
            }
            () = stopping.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    continue;
                };
                let (pages, stopping) = (pages.clone(), stopping.clone());
                tasks.spawn(Kind::Connection, async move {
                    let served = tokio::select! {
                        served = serve(stream, pages) => served,
                        () = stopping.cancelled() => Ok(()),
                    };
                    drop(place);
                    served
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the HTTP port could not be accepted");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, pages: Pages) -> Result<()> {
    let service = service_fn(move |request| {
        let page = pages::answer(&request, &pages);
        async move { Ok::<_, Infallible>(page) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_MAX, connection).await {
        Ok(end) => end.map_err(Error::internal),
        Err(_) => Ok(()),
    }
}
