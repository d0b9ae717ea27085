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

/// Time for an event when the broker does not say.
const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long leaving may take.
const DEPART_MAX: Duration = Duration::from_secs(2);

/// A membership under way.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) subscription: Streaming<v1::SubscribeResponse>,
    pub(crate) link: Link,
    /// Commit streams that broke in a row.
    pub(super) broken_links: u32,
    pub(crate) id: String,
    pub(crate) member_name: String,
    pub(crate) stream: Arc<str>,
    pub(crate) broker: String,
    pub(super) kept: bool,
    pub(crate) silence_max: Duration,
    /// The group is shared.
    pub(crate) shared: bool,
    /// How long the member has for an event that it settles by itself.
    pub(crate) ack_timeout: Duration,
    /// A failure holds its partition until the broker moves it.
    pub(crate) blocks: bool,
    pub(crate) heard: Instant,
    /// The broker has said what the session holds.
    pub(super) settled: bool,
    /// The broker is going away; leave by then.
    pub(super) going: Option<Instant>,
    pub(super) commit_due: Instant,
    /// After a refusal that may pass.
    pub(super) commit_not_before: Instant,
}

impl Session {
    /// Leaves at once: what was delivered goes to others, uncounted.
    pub(crate) async fn depart(mut self) {
        let left = async {
            self.link.leave();
            while let Ok(Some(_)) = self.link.next().await {}
        };
        // Without an answer the broker finds out when the connection is gone.
        let _ = timeout(DEPART_MAX, left).await;
    }
}

/// Subscribes on the current connection.
pub(crate) async fn join(client: &Client, request: v1::SubscribeRequest) -> Result<Session> {
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
        shared: started.shared,
        ack_timeout: started.ack_timeout.as_ref().map_or(ACK_TIMEOUT_DEFAULT, duration_from_wire),
        blocks: started.blocks,
        heard: now,
        settled: false,
        going: None,
        commit_due: now,
        commit_not_before: now,
    })
}

/// How often a session looks at its clocks.
pub(crate) const TICK: Duration = Duration::from_millis(250);

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
