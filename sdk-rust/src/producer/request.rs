//! Requests on the wire: a head, and events that were encoded when they were sent.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use eventflow_proto::v1;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use super::sequencer::Request;

/// Path of the call.
pub(super) const PUBLISH_STREAM: &str = "/eventflow.v1.PublisherService/PublishStream";

/// Field of the request in `PublishStreamRequest`.
const PUBLISH_TAG: u32 = 1;

/// One frame of a `PublishStream`.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) stream: Arc<str>,
    pub(super) partition: u32,
    pub(super) routing_version: u64,
    pub(super) request: Request,
}

impl Frame {
    fn head(&self) -> v1::PublishRequest {
        v1::PublishRequest {
            stream: self.stream.as_ref().to_owned(),
            partition: Some(self.partition),
            producer: Some(v1::Producer {
                id: Bytes::copy_from_slice(self.request.identity.producer.as_bytes()),
                epoch: self.request.identity.epoch,
                first_sequence: self.request.first_sequence,
            }),
            routing_version: self.routing_version,
            ..v1::PublishRequest::default()
        }
    }

    /// Encodes as `PublishStreamRequest`; the fields of a message may come in any order.
    fn encode(&self, buf: &mut impl BufMut) {
        let head = self.head();
        encode_key(PUBLISH_TAG, WireType::LengthDelimited, buf);
        encode_varint((head.encoded_len() + self.request.body.len()) as u64, buf);
        head.encode_raw(buf);
        buf.put_slice(&self.request.body);
    }

    fn encoded_len_max(&self) -> usize {
        // The stream's name, the producer's id, and small numbers stand beside the events.
        self.request.body.len() + self.stream.len() + 128 + encoded_len_varint(self.request.body.len() as u64)
    }
}

/// Encodes [`Frame`]s, decodes answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PublishCodec;

impl Codec for PublishCodec {
    type Encode = Frame;
    type Decode = v1::PublishStreamResponse;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<v1::PublishStreamResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(frame.encoded_len_max());
        frame.encode(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        // Frames are large: fewer, larger pieces for the connection.
        BufferSettings::new(64 * 1024, 256 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{super::sequencer::Identity, *};

    #[test]
    fn a_frame_is_what_the_generated_types_decode() {
        let event = v1::Event { r#type: "order.paid".into(), key: Some("7".into()), ..Default::default() };
        let mut body = Vec::new();
        prost::encoding::message::encode(2, &event, &mut body);
        prost::encoding::message::encode(2, &event, &mut body);
        let identity = Identity { producer: Uuid::from_u128(9), epoch: 2 };
        let frame = Frame {
            stream: "orders".into(),
            partition: 0,
            routing_version: 4,
            request: Request { ticket: 0, identity, first_sequence: 1_000, body: body.into() },
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert!(bytes.len() <= frame.encoded_len_max());
        let decoded = v1::PublishStreamRequest::decode(bytes.as_slice()).expect("decodes").publish.expect("publish");
        assert_eq!(decoded.stream, "orders");
        assert_eq!(decoded.partition, Some(0));
        assert_eq!(decoded.events, [event.clone(), event]);
        let producer = decoded.producer.expect("producer");
        assert_eq!((producer.epoch, producer.first_sequence), (2, 1_000));
        assert_eq!(producer.id, Uuid::from_u128(9).as_bytes().as_slice());
    }
}
