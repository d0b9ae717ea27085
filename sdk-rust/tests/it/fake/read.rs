//! Reading the log in small batches.

use std::pin::Pin;

use eventflow_proto::v1::{self, log_service_server::LogService, position::At, read_response::Frame};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{Database, Service};

/// Events of one batch.
pub const BATCH: usize = 10;

/// The next batch of a partition from an offset on.
pub fn batch(database: &Database, partition: u32, from: i64) -> Option<eventflow_proto::EventBatch> {
    let tables = database.tables();
    let log = tables.log.get(&partition)?;
    let events: Vec<v1::Event> = log.iter().skip(from as usize).take(BATCH).cloned().collect();
    (!events.is_empty()).then(|| eventflow_proto::EventBatch {
        partition,
        base_offset: from,
        next_offset: from + events.len() as i64,
        events,
        ..Default::default()
    })
}

#[tonic::async_trait]
impl LogService for Service {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let (frames, sent) = mpsc::channel(1);
        let database = self.database.clone();
        let mut changes = database.changes();
        let partitions = match request.partition {
            Some(partition) => partition..partition + 1,
            None => 0..database.tables().partitions,
        };
        let start = |partition: u32| match request.from.as_ref().and_then(|from| from.at) {
            Some(At::Offset(offset)) => offset,
            Some(At::Latest(_)) => database.tables().log.get(&partition).map_or(0, Vec::len) as i64,
            _ => 0,
        };
        let mut positions: Vec<(u32, i64)> = partitions.map(|partition| (partition, start(partition))).collect();
        let serve = async move {
            let frame = |frame| Ok(v1::ReadResponse { frame: Some(frame) });
            let mut caught_up = false;
            loop {
                let mut idle = true;
                for (partition, position) in &mut positions {
                    if let Some(batch) = batch(&database, *partition, *position) {
                        idle = false;
                        *position = batch.next_offset;
                        if frames.send(frame(Frame::Batch(batch.into()))).await.is_err() {
                            return;
                        }
                    }
                }
                if idle && !std::mem::replace(&mut caught_up, true) {
                    let _ = frames.send(frame(Frame::CaughtUp(v1::CaughtUp {}))).await;
                }
                if idle && (!request.follow || changes.changed().await.is_err()) {
                    return;
                }
            }
        };
        tokio::runtime::Handle::current().spawn(serve);
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn list_events(&self, _: Request<v1::ListEventsRequest>) -> Result<Response<v1::ListEventsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_event(&self, _: Request<v1::GetEventRequest>) -> Result<Response<v1::GetEventResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
