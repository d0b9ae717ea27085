//! Joining a group: the first frames of a subscription.

use std::{sync::Arc, time::Duration};

use eventflow_proto::v1::{self, subscribe_response::Frame};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::link::Link;
use crate::{
    call::is_elsewhere,
    client::Client,
    connection::Connection,
    convert::duration_from_wire,
    error::{Error, ErrorKind, Result, reason},
};

/// A broker that does not answer a Subscribe for so long is left.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// Silence that is borne when the broker does not say.
const SILENCE_DEFAULT: Duration = Duration::from_secs(15);

/// A membership under way.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) subscription: Streaming<v1::SubscribeResponse>,
    pub(super) link: Link,
    /// Commit streams that broke in a row.
    pub(super) broken_links: u32,
    pub(super) id: String,
    pub(super) member_name: String,
    pub(super) stream: Arc<str>,
    pub(super) broker: String,
    pub(super) kept: bool,
    pub(super) silence_max: Duration,
    pub(super) heard: Instant,
    /// The broker has said what the session holds.
    pub(super) settled: bool,
    /// The broker is going away; leave by then.
    pub(super) going: Option<Instant>,
    pub(super) commit_due: Instant,
    /// After a refusal that may pass.
    pub(super) commit_not_before: Instant,
}

/// Subscribes on the current connection.
pub(super) async fn join(client: &Client, request: v1::SubscribeRequest) -> Result<Session> {
    let connection = client.connections().get().await?;
    let joined = match timeout(JOIN_MAX, begin(&connection, request)).await {
        Ok(joined) => joined,
        Err(_) => {
            client.connections().leave(&connection);
            let message = format!("`{}` did not answer a Subscribe in time", connection.host);
            return Err(Error::new(ErrorKind::Unavailable, reason::CONNECTION_TIMED_OUT, message));
        }
    };
    if let Err(error) = &joined
        && is_elsewhere(error)
    {
        client.connections().leave(&connection);
    }
    let (subscription, started) = joined?;
    let now = Instant::now();
    Ok(Session {
        link: Link::open(&connection, &started.session_id),
        connection,
        subscription,
        broken_links: 0,
        id: started.session_id,
        member_name: started.member_name,
        stream: started.stream.into(),
        broker: started.broker,
        kept: started.reattached,
        silence_max: started.silence_limit.as_ref().map_or(SILENCE_DEFAULT, duration_from_wire).max(TICK * 4),
        heard: now,
        settled: false,
        going: None,
        commit_due: now,
        commit_not_before: now,
    })
}

/// How often a session looks at its clocks.
pub(super) const TICK: Duration = Duration::from_millis(250);

async fn begin(
    connection: &Connection,
    request: v1::SubscribeRequest,
) -> Result<(Streaming<v1::SubscribeResponse>, v1::SessionStarted)> {
    let mut subscription = connection.transport.consumers().subscribe(request).await?.into_inner();
    match subscription.message().await?.and_then(|response| response.frame) {
        Some(Frame::Session(started)) => Ok((subscription, started)),
        Some(Frame::GoAway(_)) | None => {
            let message = format!("`{}` is going away", connection.host);
            Err(Error::new(ErrorKind::Unavailable, "BROKER_DRAINING", message))
        }
        Some(_) => Err(Error::protocol("a subscription did not begin with its session")),
    }
}
