//! A gRPC client without generated code: descriptors from reflection, messages from JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Buf;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, prost::Message,
    prost_types::FileDescriptorProto,
};
use serde_json::{Value, json};
use tonic::{
    Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::{Channel, Endpoint},
};

/// Both versions of the reflection service, which differ in their names only.
#[derive(Clone, Copy)]
pub enum Version {
    V1,
    V1Alpha,
}

impl Version {
    fn method(self) -> MethodDescriptor {
        use tonic_reflection::pb::{v1, v1alpha};
        let (descriptors, package) = match self {
            Self::V1 => (v1::FILE_DESCRIPTOR_SET, "grpc.reflection.v1"),
            Self::V1Alpha => (v1alpha::FILE_DESCRIPTOR_SET, "grpc.reflection.v1alpha"),
        };
        let pool = DescriptorPool::decode(descriptors).unwrap();
        method(&pool, &format!("{package}.ServerReflection/ServerReflectionInfo"))
    }
}

/// The method `package.Service/Method`.
pub fn method(pool: &DescriptorPool, name: &str) -> MethodDescriptor {
    let (service, method) = name.split_once('/').unwrap_or_else(|| panic!("`{name}` is not a method"));
    let service = pool.get_service_by_name(service).unwrap_or_else(|| panic!("nobody told of `{service}`"));
    service.methods().find(|candidate| candidate.name() == method).unwrap_or_else(|| panic!("nobody told of `{name}`"))
}

/// A connection to one server.
pub struct Server(Channel);

/// The messages of an answer.
pub struct Answers(Streaming<DynamicMessage>);

impl Server {
    pub async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self(endpoint.connect().await.unwrap())
    }

    /// Calls with one message, given as JSON.
    pub async fn call(
        &self,
        method: &MethodDescriptor,
        headers: &[(String, String)],
        data: &str,
    ) -> Result<Answers, Status> {
        let mut request = Request::new(futures_util::stream::iter([from_json(method.input(), data)]));
        request.set_timeout(Duration::from_secs(30));
        for (name, value) in headers {
            let name: AsciiMetadataKey = name.parse().unwrap();
            request.metadata_mut().insert(name, value.parse::<AsciiMetadataValue>().unwrap());
        }
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        // On the wire, a call with one message is a stream of one.
        let answers = grpc.streaming(request, path.parse().unwrap(), Dynamic(method.output())).await?;
        Ok(Answers(answers.into_inner()))
    }

    /// Names of all services, sorted as grpcurl does.
    pub async fn services(&self, version: Version) -> Vec<String> {
        let answer = self.ask(version, &json!({"listServices": ""})).await;
        let services = answer["listServicesResponse"]["service"].as_array().expect("services");
        let names: BTreeSet<&str> = services.iter().filter_map(|service| service["name"].as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// All that is needed to call every service: their files, and what these import.
    pub async fn descriptors(&self, version: Version) -> DescriptorPool {
        let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
        let mut imports = Vec::new();
        for service in self.services(version).await {
            let answer = self.ask(version, &json!({"fileContainingSymbol": service})).await;
            take_in(&answer, &mut files, &mut imports);
        }
        while let Some(import) = imports.pop() {
            if !files.contains_key(&import) {
                let answer = self.ask(version, &json!({"fileByFilename": import})).await;
                take_in(&answer, &mut files, &mut imports);
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files.into_values()).unwrap();
        pool
    }

    async fn ask(&self, version: Version, question: &Value) -> Value {
        let mut answers = self.call(&version.method(), &[], &question.to_string()).await.unwrap();
        answers.next().await.unwrap().expect("an answer")
    }
}

impl Answers {
    /// The next message as JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, Status> {
        let message = eventflow_testkit::within("the next message", self.0.message()).await?;
        Ok(message.map(|message| serde_json::to_value(&message).unwrap()))
    }
}

fn take_in(answer: &Value, files: &mut BTreeMap<String, FileDescriptorProto>, imports: &mut Vec<String>) {
    let encoded = answer["fileDescriptorResponse"]["fileDescriptorProto"].as_array();
    for encoded in encoded.unwrap_or_else(|| panic!("no files in {answer}")) {
        let bytes = BASE64_STANDARD.decode(encoded.as_str().unwrap()).unwrap();
        let file = FileDescriptorProto::decode(bytes.as_slice()).unwrap();
        imports.extend(file.dependency.iter().cloned());
        files.insert(file.name().to_owned(), file);
    }
}

fn from_json(message: MessageDescriptor, text: &str) -> DynamicMessage {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = DynamicMessage::deserialize(message.clone(), &mut json);
    let read = read.and_then(|read| json.end().map(|()| read));
    read.unwrap_or_else(|error| panic!("`{text}` is not a {}: {error}", message.full_name()))
}

/// Messages of a kind that is known at run time only.
#[derive(Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer.copy_to_bytes(buffer.remaining()));
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
