//! Just enough of the stream service for producers and readers.

use eventflow_proto::v1::{self, stream_service_server::StreamService};
use tonic::{Code, Request, Response, Status};

use super::{Service, status};

impl Service {
    fn stream(&self, name: &str) -> Result<v1::Stream, Status> {
        let tables = self.database.tables();
        if tables.missing {
            return Err(status(Code::NotFound, "STREAM_NOT_FOUND", "no such stream"));
        }
        Ok(v1::Stream {
            name: name.to_owned(),
            partitions: tables.partitions,
            routing_version: tables.routing_version,
            max_event_bytes: 1_000_000,
            create_time: Some(prost_types::Timestamp::default()),
            update_time: Some(prost_types::Timestamp::default()),
            ..v1::Stream::default()
        })
    }
}

fn unscripted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not scripted"))
}

#[tonic::async_trait]
impl StreamService for Service {
    async fn get_stream(
        &self,
        request: Request<v1::GetStreamRequest>,
    ) -> Result<Response<v1::GetStreamResponse>, Status> {
        let key = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if key != Some("Bearer ef_live_test") {
            return Err(status(Code::Unauthenticated, "UNAUTHENTICATED", "no key, or a bad one"));
        }
        let stream = self.stream(&request.into_inner().name)?;
        Ok(Response::new(v1::GetStreamResponse { stream: Some(stream) }))
    }

    async fn get_stream_statistics(
        &self,
        _: Request<v1::GetStreamStatisticsRequest>,
    ) -> Result<Response<v1::GetStreamStatisticsResponse>, Status> {
        let tables = self.database.tables();
        let head = |partition: u32| tables.log.get(&partition).map_or(0, Vec::len) as i64;
        let statistics = |partition| v1::PartitionStatistics { partition, head: head(partition), ..Default::default() };
        let partitions = (0..tables.partitions).map(statistics).collect();
        Ok(Response::new(v1::GetStreamStatisticsResponse { partitions, ..Default::default() }))
    }

    async fn create_stream(
        &self,
        _: Request<v1::CreateStreamRequest>,
    ) -> Result<Response<v1::CreateStreamResponse>, Status> {
        unscripted()
    }

    async fn list_streams(
        &self,
        _: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        unscripted()
    }

    async fn update_stream(
        &self,
        _: Request<v1::UpdateStreamRequest>,
    ) -> Result<Response<v1::UpdateStreamResponse>, Status> {
        unscripted()
    }

    async fn delete_stream(
        &self,
        _: Request<v1::DeleteStreamRequest>,
    ) -> Result<Response<v1::DeleteStreamResponse>, Status> {
        unscripted()
    }

    async fn add_partitions(
        &self,
        _: Request<v1::AddPartitionsRequest>,
    ) -> Result<Response<v1::AddPartitionsResponse>, Status> {
        unscripted()
    }

    async fn purge_stream(
        &self,
        _: Request<v1::PurgeStreamRequest>,
    ) -> Result<Response<v1::PurgeStreamResponse>, Status> {
        unscripted()
    }

    async fn get_limits(&self, _: Request<v1::GetLimitsRequest>) -> Result<Response<v1::GetLimitsResponse>, Status> {
        unscripted()
    }
}
