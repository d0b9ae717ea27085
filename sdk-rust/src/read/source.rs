//! The calls of a reader: one for everything, or after a resumption one for each partition.

use std::{collections::BTreeMap, sync::Arc};

use eventflow_proto::v1::{self, position::At, read_response::Frame};
use futures_util::{
    Stream, StreamExt,
    stream::{self, SelectAll},
};
use tokio::time::{Instant, sleep};
use tonic::Streaming;

use super::ReadNotice;
use crate::{
    call::{ATTEMPTS_MAX, is_elsewhere, is_transient},
    client::Client,
    connection::{Connection, backoff},
    consumer::Batch,
    error::{Error, ErrorKind, Result},
};

type Observer = Option<Box<dyn FnMut(ReadNotice) + Send>>;

/// See the [module](self).
pub(super) struct Source {
    client: Client,
    stream: Arc<str>,
    request: v1::ReadRequest,
    observer: Observer,
    connection: Connection,
    calls: SelectAll<Streaming<v1::ReadResponse>>,
    /// The next offset of each partition, as far as it is known.
    positions: BTreeMap<u32, i64>,
    caught_up: bool,
}

impl Source {
    /// Makes the first call, and repeats it while that may help.
    pub(super) async fn open(client: Client, request: v1::ReadRequest, observer: Observer) -> Result<Self> {
        let positions = latest(&client, &request).await?;
        let mut attempt = 1;
        loop {
            match call(&client, vec![request.clone()]).await {
                Ok((connection, calls)) => {
                    let stream = request.stream.as_str().into();
                    return Ok(Self {
                        client,
                        stream,
                        request,
                        observer,
                        connection,
                        calls,
                        positions,
                        caught_up: false,
                    });
                }
                Err(error) if is_transient(&error) && attempt < ATTEMPTS_MAX => {
                    sleep(backoff(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything that is read, to the end or the first final error.
    pub(super) fn batches(self) -> impl Stream<Item = Result<Batch>> {
        stream::unfold(Some(self), |source| async move {
            let mut source = source?;
            match source.next().await {
                Ok(batch) => batch.map(|batch| (Ok(batch), Some(source))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            let broken = match self.calls.next().await {
                Some(Ok(v1::ReadResponse { frame })) => {
                    if let Some(batch) = frame.and_then(|frame| self.frame(frame)) {
                        return Ok(Some(batch));
                    }
                    continue;
                }
                None if !self.request.follow => return Ok(None),
                // A call that follows has no end: the broker is going away.
                None => Error::new(ErrorKind::Unavailable, "BROKER_DRAINING", "the broker ended a read that follows"),
                Some(Err(status)) => Error::from(status),
            };
            self.resume(broken).await?;
        }
    }

    fn frame(&mut self, frame: Frame) -> Option<Batch> {
        match frame {
            Frame::Batch(batch) => {
                let wire = batch.head;
                let (partition, next_offset) = (wire.partition, wire.next_offset);
                let known = self.positions.insert(partition, next_offset);
                let mut batch = Batch::from_wire(&self.stream, wire);
                if let Some(known) = known {
                    batch.skip_below(known);
                    self.positions.insert(partition, next_offset.max(known));
                }
                (!batch.is_empty()).then_some(batch)
            }
            Frame::CaughtUp(_) => {
                if !std::mem::replace(&mut self.caught_up, true) {
                    self.tell(ReadNotice::CaughtUp);
                }
                None
            }
            Frame::Heartbeat(heartbeat) => {
                for position in heartbeat.positions {
                    self.positions.entry(position.partition).or_insert(position.next_offset);
                }
                None
            }
        }
    }

    fn tell(&mut self, notice: ReadNotice) {
        if let Some(observer) = &mut self.observer {
            observer(notice);
        }
    }

    /// Goes on where every partition stands, however long it takes.
    async fn resume(&mut self, broken: Error) -> Result<()> {
        if !may_resume(&broken) {
            return Err(broken);
        }
        tracing::debug!(error = %broken, "a read broke; resuming");
        let since = Instant::now();
        self.client.connections().leave(&self.connection);
        self.calls = SelectAll::new();
        let mut attempt = 0;
        loop {
            match self.call_again().await {
                Ok(()) => break,
                Err(error) if may_resume(&error) => sleep(backoff(attempt)).await,
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
        let resumed_at = self.positions.iter().map(|(partition, offset)| (*partition, *offset)).collect();
        self.tell(ReadNotice::Reconnected { after: since.elapsed(), resumed_at });
        Ok(())
    }

    async fn call_again(&mut self) -> Result<()> {
        let partitions = match self.request.partition {
            Some(partition) => partition..partition + 1,
            None => 0..self.client.streams().get(self.stream.as_ref()).await?.partitions,
        };
        let requests = partitions.map(|partition| {
            let mut request = v1::ReadRequest { partition: Some(partition), ..self.request.clone() };
            if let Some(offset) = self.positions.get(&partition) {
                request.from = Some(v1::Position { at: Some(At::Offset(*offset)) });
            }
            request
        });
        (self.connection, self.calls) = call(&self.client, requests.collect()).await?;
        Ok(())
    }
}

/// Where a read of the latest events of all partitions begins, so that nothing behind is missed when it must be resumed
/// before anything has come.
async fn latest(client: &Client, request: &v1::ReadRequest) -> Result<BTreeMap<u32, i64>> {
    let is_latest = matches!(request.from, Some(v1::Position { at: Some(At::Latest(_)) }));
    if !is_latest {
        return Ok(BTreeMap::new());
    }
    let statistics = client.streams().statistics(request.stream.as_str()).await?;
    let heads = statistics.partitions.into_iter().map(|partition| (partition.partition, partition.head));
    Ok(heads.filter(|(partition, _)| request.partition.is_none_or(|wanted| wanted == *partition)).collect())
}

async fn call(
    client: &Client,
    requests: Vec<v1::ReadRequest>,
) -> Result<(Connection, SelectAll<Streaming<v1::ReadResponse>>)> {
    let connection = client.connections().get().await?;
    let mut calls = SelectAll::new();
    for request in requests {
        match connection.transport.log().read(request).await {
            Ok(answer) => calls.push(answer.into_inner()),
            Err(status) => {
                let error = Error::from(status);
                if is_elsewhere(&error) {
                    client.connections().leave(&connection);
                }
                return Err(error);
            }
        }
    }
    Ok((connection, calls))
}

/// True for what a new call may mend.
fn may_resume(error: &Error) -> bool {
    is_transient(error)
        || error.reason() == "SLOW_CONSUMER"
        || matches!(error.kind(), ErrorKind::Internal | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled)
}
