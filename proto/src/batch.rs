//! `EventBatch`, the message that carries events to readers, in two forms.
//!
//! A broker sends the same batch to many subscribers, so it encodes the batch once and hands the bytes to every stream. A
//! client decodes it as usual. [`EncodedBatch`] is the field's type in both; on the wire there is no difference.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

/// Consecutive events of one partition. The fields are documented in `event.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct EventBatch {
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    #[prost(uint64, tag = "2")]
    pub log_epoch: u64,
    #[prost(uint64, tag = "3")]
    pub lease_epoch: u64,
    #[prost(int64, tag = "4")]
    pub base_offset: i64,
    #[prost(int64, tag = "5")]
    pub next_offset: i64,
    #[prost(message, repeated, tag = "6")]
    pub events: Vec<crate::v1::Event>,
    #[prost(uint32, repeated, tag = "7")]
    pub offset_deltas: Vec<u32>,
    #[prost(message, optional, tag = "8")]
    pub append_time: Option<prost_types::Timestamp>,
    #[prost(message, repeated, tag = "9")]
    pub publishers: Vec<crate::v1::PublisherRun>,
}

/// An [`EventBatch`] whose large part may be encoded already.
///
/// On encoding: the fields of `head`, then `encoded` (zero or more complete fields, such as many `events`). On decoding
/// everything lands in `head`, and `encoded` stays empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedBatch {
    /// Fields that differ from reader to reader, or the whole batch.
    pub head: EventBatch,
    /// Fields that are the same for everybody, encoded once.
    pub encoded: Bytes,
}

impl From<EventBatch> for EncodedBatch {
    fn from(head: EventBatch) -> Self {
        Self { head, encoded: Bytes::new() }
    }
}

impl Message for EncodedBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.head.encode_raw(buf);
        buf.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.head.merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.encoded.len()
    }

    fn clear(&mut self) {
        self.head.clear();
        self.encoded = Bytes::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn a_batch_encoded_in_two_parts_decodes_as_one() {
        let event = v1::Event { r#type: "order.paid".into(), key: Some(String::new()), ..Default::default() };
        let whole =
            EventBatch { partition: 3, base_offset: 7, next_offset: 8, events: vec![event], ..Default::default() };
        let part = EventBatch { events: whole.events.clone(), ..Default::default() };
        let split =
            EncodedBatch { head: EventBatch { events: vec![], ..whole.clone() }, encoded: part.encode_to_vec().into() };
        let decoded = EncodedBatch::decode(split.encode_to_vec().as_slice()).expect("decodes");
        assert_eq!(decoded.head, whole);
        assert!(decoded.encoded.is_empty());
    }
}
