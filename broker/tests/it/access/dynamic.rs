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
    let mut answers = begun(channel, method, credential, json).await?;
    let first = eventflow_testkit::within("the first answer", answers.message()).await?;
    Ok(decoded(method, first.unwrap_or_default()))
}

/// All answers of a call, and how it failed, if it did. Calls that go on until somebody ends them are left after the first answer.
pub async fn answers(
    channel: &Channel,
    method: &MethodDescriptor,
    credential: &str,
    json: &str,
) -> (Vec<Value>, Option<Status>) {
    let mut seen = Vec::new();
    let mut answers = match begun(channel, method, Some(credential), json).await {
        Ok(answers) => answers,
        Err(status) => return (seen, Some(status)),
    };
    let goes_on = method.is_client_streaming() || method.name() == "Subscribe";
    loop {
        match eventflow_testkit::within("an answer", answers.message()).await {
            Ok(Some(answer)) => seen.push(decoded(method, answer)),
            Ok(None) => return (seen, None),
            Err(status) => return (seen, Some(status)),
        }
        if goes_on {
            return (seen, None);
        }
    }
}

fn decoded(method: &MethodDescriptor, answer: Bytes) -> Value {
    let answer = DynamicMessage::decode(method.output(), answer).expect("an answer");
    let mut answer = serde_json::to_value(&answer).expect("json");
    // Maps travel in any order.
    answer.sort_all_objects();
    answer
}

async fn begun(
    channel: &Channel,
    method: &MethodDescriptor,
    credential: Option<&str>,
    json: &str,
) -> Result<tonic::Streaming<Bytes>, Status> {
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
    Ok(grpc.streaming(request, path, Raw).await?.into_inner())
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
