//! Any method of the descriptors, called with a message that is given as JSON.

use bytes::{Buf, Bytes};
use eventflow_proto::DESCRIPTORS;
use futures_util::stream::{self, StreamExt};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message};
use serde_json::Value;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Every method that this broker describes, by `Service/Method`.
pub fn methods() -> Vec<(String, MethodDescriptor)> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| (format!("{}/{}", method.parent_service().name(), method.name()), method)).collect()
}

/// The code that a call ends with, or begins to stream with. Of a publish stream, that of its first answer.
pub async fn code(channel: &Channel, method: &MethodDescriptor, credential: Option<&str>, json: &str) -> Code {
    match first_answer(channel, method, credential, json).await {
        Ok(answer) => answer["error"]["code"].as_i64().map_or(Code::Ok, |code| Code::from_i32(code as i32)),
        Err(status) => status.code(),
    }
}

async fn first_answer(
    channel: &Channel,
    method: &MethodDescriptor,
    credential: Option<&str>,
    json: &str,
) -> Result<Value, Status> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(method.input(), &mut reader)
        .unwrap_or_else(|error| panic!("`{json}` is not a {}: {error}", method.input().full_name()));
    let first = stream::iter([Bytes::from(message.encode_to_vec())]);
    // The requests of a client stream go on after the first one, as those of a living client do.
    let rest = if method.is_client_streaming() { stream::pending().boxed() } else { stream::empty().boxed() };
    let mut request = Request::new(first.chain(rest));
    if let Some(credential) = credential {
        request.metadata_mut().insert("authorization", format!("Bearer {credential}").parse().expect("a header"));
    }
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name()).parse().expect("a path");
    let mut answers = grpc.streaming(request, path, Raw).await?.into_inner();
    let first = eventflow_testkit::within("the first answer", answers.message()).await?;
    let answer = DynamicMessage::decode(method.output(), first.unwrap_or_default()).expect("an answer");
    Ok(serde_json::to_value(&answer).expect("json"))
}

/// Messages as bytes.
#[derive(Clone)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
