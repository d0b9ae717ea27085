//! Events are byte-identical, whether they are read from memory or from the table.

use crate::support::{Clients, Ground, broker_at};
use bytes::{Buf, BufMut, Bytes};
use eventflow_proto::v1;
use eventflow_testkit::{Action, Match, PgProxy, Step, Upstream, within};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// A codec that leaves answers as they came.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = v1::ReadRequest;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = v1::ReadRequest;
    type Error = Status;

    fn encode(&mut self, item: v1::ReadRequest, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item.encode_to_vec().as_slice());
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// `Read`, as bytes.
async fn read(url: &str, key: &str, follow: bool) -> Streaming<Bytes> {
    let channel: Channel = Endpoint::from_shared(url.to_owned()).expect("a url").connect().await.expect("a connection");
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(8 << 20);
    grpc.ready().await.expect("ready");
    let mut request =
        Request::new(v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow, ..Default::default() });
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
    let path = http::uri::PathAndQuery::from_static("/eventflow.v1.LogService/Read");
    grpc.server_streaming(request, path, Raw).await.expect("a read").into_inner()
}

/// The fields of a message: tags with the bytes of those that have a length, and numbers.
fn fields(mut message: Bytes) -> Vec<(u32, Bytes, u64)> {
    let mut found = Vec::new();
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message).expect("a key");
        match wire_type {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut message).expect("a length") as usize;
                found.push((tag, message.split_to(length), 0));
            }
            WireType::Varint => found.push((tag, Bytes::new(), decode_varint(&mut message).expect("a number"))),
            other => skip_field(other, tag, &mut message, DecodeContext::default()).expect("a field"),
        }
    }
    found
}

/// Takes the events of a frame, by offset; true for the frame that says "caught up".
fn take(frame: Bytes, events: &mut BTreeMap<i64, Bytes>) -> bool {
    let mut caught_up = false;
    for (tag, body, _) in fields(frame) {
        match tag {
            1 => {
                let batch = fields(body);
                let base = batch.iter().find(|(tag, ..)| *tag == 4).map_or(0, |(_, _, number)| *number as i64);
                let of_batch = batch.into_iter().filter(|(tag, ..)| *tag == 6);
                events.extend((base..).zip(of_batch.map(|(_, event, _)| event)));
            }
            2 => caught_up = true,
            _ => {}
        }
    }
    caught_up
}

async fn until_caught_up(frames: &mut Streaming<Bytes>, events: &mut BTreeMap<i64, Bytes>) {
    while !take(within("a frame", frames.message()).await.expect("a frame").expect("a frame"), events) {}
}

async fn until_count(frames: &mut Streaming<Bytes>, events: &mut BTreeMap<i64, Bytes>, count: usize) {
    while events.len() < count {
        take(within("a frame", frames.message()).await.expect("a frame").expect("a frame"), events);
    }
}

/// Text of any length below `max`, with letters of one to four bytes.
fn text(chance: &mut StdRng, max: usize) -> String {
    let length = chance.random_range(0..=max);
    let letters = ['a', 'Z', '"', '\\', '\n', 'é', '漢', '🦀', '\u{1}'];
    let mut text = String::new();
    while text.len() + 4 <= length {
        text.push(*letters.choose(chance).expect("a letter"));
    }
    text
}

fn headers(chance: &mut StdRng) -> Vec<v1::Header> {
    let count = *[0, 0, 1, 3, 63].choose(chance).expect("a count");
    // Not in the order of their names: that is the broker's to make.
    let name = |n: usize, chance: &mut StdRng| format!("{}{}", (n * 37) % 64, text(chance, 12));
    (0..count).map(|n| v1::Header { name: name(n, chance), value: text(chance, 100) }).collect()
}

fn payload(chance: &mut StdRng) -> Option<v1::event::Payload> {
    use v1::event::Payload;
    let size = *[0, 1, 127, 128, 16_383, 16_384, 200_000].choose(chance).expect("a size");
    match chance.random_range(0..4) {
        0 => None,
        1 => Some(Payload::Text(text(chance, size))),
        2 => {
            let value = |text| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text)) };
            let fields = (0..3).map(|n| (format!("field {n}"), value(text(chance, size / 3))));
            Some(Payload::Json(prost_types::Struct { fields: fields.collect() }))
        }
        _ => Some(Payload::Data((0..size).map(|_| chance.random::<u8>()).collect::<Vec<u8>>().into())),
    }
}

fn event(chance: &mut StdRng) -> v1::Event {
    let maybe = |chance: &mut StdRng| chance.random_bool(0.5);
    v1::Event {
        id: maybe(chance).then(|| format!("id{}", text(chance, 100))),
        r#type: text(chance, 200),
        key: match chance.random_range(0..4) {
            0 => None,
            1 => Some(String::new()),
            2 => Some("k".repeat(1_024)),
            _ => Some(text(chance, 1_000)),
        },
        headers: headers(chance),
        content_type: if maybe(chance) { text(chance, 200) } else { String::new() },
        time: maybe(chance).then(|| prost_types::Timestamp {
            seconds: chance.random_range(-62_135_596_800..253_402_300_800),
            nanos: chance.random_range(0..1_000_000) * 1_000,
        }),
        payload: payload(chance),
        idempotency_key: None,
        deliver_at: chance
            .random_bool(0.1)
            .then_some(prost_types::Timestamp { seconds: chance.random_range(0..1_000_000_000), nanos: 0 }),
    }
}

/// Requests of any size.
fn requests(chance: &mut StdRng) -> Vec<Vec<v1::Event>> {
    let mut requests = Vec::new();
    for _ in 0..40 {
        let mut events: Vec<v1::Event> = Vec::new();
        for _ in 0..chance.random_range(1..20) {
            let next = event(chance);
            if events.iter().map(Message::encoded_len).sum::<usize>() + next.encoded_len() < 3_000_000 {
                events.push(next);
            }
        }
        requests.push(events);
    }
    requests
}

async fn publish(clients: &mut Clients, requests: Vec<Vec<v1::Event>>) {
    for events in requests {
        let request = v1::PublishRequest { stream: "orders".into(), events, partition: Some(0), ..Default::default() };
        let answer = clients.publisher.publish(request).await.expect("published").into_inner();
        crate::support::appended(&answer.results[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_the_same_bytes_from_memory_and_from_the_table() {
    let seed = 6;
    let mut chance = StdRng::seed_from_u64(seed);
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    // Without a poll: one that comes between a commit and its answer would read the log, and rightly so.
    let settings = [("delivery.poll_interval_ms", "60000")];
    let one = broker_at(&ground.database.through(proxy.address()).url(), &settings).await;
    let two = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&one, &key).await;
    clients.create_stream("orders", 1).await;
    let [here, there] = [&one, &two].map(|app| format!("http://{}", app.grpc_address()));
    let (mut tail, mut other) = (read(&here, &key, true).await, read(&there, &key, true).await);
    let (mut from_memory, mut from_feed, mut from_table) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    until_caught_up(&mut tail, &mut from_memory).await;
    until_caught_up(&mut other, &mut from_feed).await;
    // The cache must know its end before what follows can enter it.
    clients.publish("orders", 0, &["first"]).await;
    until_count(&mut tail, &mut from_memory, 1).await;

    let reads = proxy.on(Match::sql_contains("read_v1").every(), Step::BeforeForward, Action::Pass);
    let requests = requests(&mut chance);
    let count = 1 + requests.iter().map(Vec::len).sum::<usize>();
    tokio::join!(
        publish(&mut clients, requests),
        until_count(&mut tail, &mut from_memory, count),
        until_count(&mut other, &mut from_feed, count),
    );
    assert_eq!(reads.times(), 0, "the broker that appended read nothing back");
    let cold = ground.broker(&[]).await;
    let mut catch_up = read(&format!("http://{}", cold.grpc_address()), &key, false).await;
    until_caught_up(&mut catch_up, &mut from_table).await;

    assert_eq!(from_memory.len(), count);
    for (offset, bytes) in &from_table {
        assert_eq!(from_memory.get(offset), Some(bytes), "offset {offset} from memory, seed {seed}");
        assert_eq!(from_feed.get(offset), Some(bytes), "offset {offset} as another broker feeds it, seed {seed}");
        v1::Event::decode(bytes.clone()).expect("an event");
    }
    assert_eq!(from_table.len(), count);
}
