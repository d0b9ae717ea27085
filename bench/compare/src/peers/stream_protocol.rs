//! The part of RabbitMQ's stream protocol that the work needs. The published Rust client neither turns off Nagle's
//! algorithm nor asks for more than a chunk at a time, and would be what is measured.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Result;

pub const PUBLISH_CONFIRM: u16 = 3;
pub const DELIVER: u16 = 8;
const DECLARE_PUBLISHER: u16 = 1;
const PUBLISH: u16 = 2;
const SUBSCRIBE: u16 = 7;
const CREDIT: u16 = 9;
const CREATE: u16 = 13;
const PEER_PROPERTIES: u16 = 17;
const HANDSHAKE: u16 = 18;
const AUTHENTICATE: u16 = 19;
const TUNE: u16 = 20;
const OPEN: u16 = 21;
const HEARTBEAT: u16 = 23;
const RESPONSE: u16 = 0x8000;
const OK: u16 = 1;
/// Chunks of events; others hold what the server notes for itself.
const USER_CHUNK: u8 = 0;

#[derive(Clone, Copy)]
pub enum From {
    First = 1,
    Last = 2,
}

pub struct Connection {
    pub read: Reader,
    pub write: OwnedWriteHalf,
    correlation: AtomicU32,
}

/// Frames, as they come.
pub struct Reader(BufReader<OwnedReadHalf>);

impl Reader {
    /// The next frame's key and what follows its version. Heartbeats are not needed on this machine.
    pub async fn frame(&mut self) -> Result<(u16, Bytes)> {
        loop {
            let length = self.0.read_u32().await? as usize;
            let mut frame = BytesMut::with_capacity(length);
            while frame.len() < length {
                if (&mut self.0).take((length - frame.len()) as u64).read_buf(&mut frame).await? == 0 {
                    return Err("the server closed the connection".into());
                }
            }
            let (key, _version) = (frame.get_u16(), frame.get_u16());
            if key != HEARTBEAT {
                return Ok((key, frame.freeze()));
            }
        }
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn framed(key: u16, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u32(4 + body.len() as u32);
    frame.put_u16(key);
    frame.put_u16(1);
    frame.put_slice(body);
    frame
}

impl Connection {
    /// As guest, who may come from this machine only.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut connection =
            Self { read: Reader(BufReader::with_capacity(128 << 10, read)), write, correlation: AtomicU32::new(1) };
        connection.ask(PEER_PROPERTIES, |body| body.put_u32(0)).await?;
        connection.ask(HANDSHAKE, |_| {}).await?;
        connection
            .ask(AUTHENTICATE, |body| {
                put_string(body, "PLAIN");
                body.put_u32(12);
                body.put_slice(b"\0guest\0guest");
            })
            .await?;
        let (key, tune) = connection.read.frame().await?;
        if key != TUNE {
            return Err(format!("frame {key} came instead of the tuning").into());
        }
        // The frame size that it proposes; no heartbeats.
        let mut answer = BytesMut::from(&tune[..4]);
        answer.put_u32(0);
        connection.write.write_all(&framed(TUNE, &answer)).await?;
        connection.ask(OPEN, |body| put_string(body, "/")).await?;
        Ok(connection)
    }

    pub async fn create(&mut self, stream: &str) -> Result<()> {
        let ask = |body: &mut BytesMut| {
            put_string(body, stream);
            body.put_u32(0);
        };
        self.ask(CREATE, ask).await.map(drop)
    }

    pub async fn declare_publisher(&mut self, stream: &str) -> Result<()> {
        let ask = |body: &mut BytesMut| {
            body.put_u8(0);
            put_string(body, "");
            put_string(body, stream);
        };
        self.ask(DECLARE_PUBLISHER, ask).await.map(drop)
    }

    pub async fn subscribe(&mut self, stream: &str, from: From, credit: u16) -> Result<()> {
        let ask = |body: &mut BytesMut| {
            body.put_u8(0);
            put_string(body, stream);
            body.put_u16(from as u16);
            body.put_u16(credit);
        };
        self.ask(SUBSCRIBE, ask).await.map(drop)
    }

    async fn ask(&mut self, key: u16, fill: impl FnOnce(&mut BytesMut)) -> Result<Bytes> {
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed);
        let mut body = BytesMut::new();
        body.put_u32(correlation);
        fill(&mut body);
        self.write.write_all(&framed(key, &body)).await?;
        let (answered, mut answer) = self.read.frame().await?;
        if answered != key | RESPONSE {
            return Err(format!("frame {answered} came as the answer to {key}").into());
        }
        let (_correlation, code) = (answer.get_u32(), answer.get_u16());
        if code == OK { Ok(answer) } else { Err(format!("the server answered {key} with code {code}").into()) }
    }
}

pub fn credit(chunks: u16) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u16(chunks);
    framed(CREDIT, &body)
}

/// Events with their numbers from `first` on, each an AMQP 1.0 message of one data section, as clients write it.
pub fn publish(first: u64, events: &[Bytes]) -> BytesMut {
    let mut body = BytesMut::with_capacity(events.iter().map(|event| event.len() + 24).sum::<usize>() + 8);
    body.put_u8(0);
    body.put_u32(events.len() as u32);
    for (number, event) in (first..).zip(events) {
        body.put_u64(number);
        if let Ok(length) = u8::try_from(event.len()) {
            body.put_u32(5 + event.len() as u32);
            body.put_slice(&[0, 0x53, 0x75, 0xa0, length]);
        } else {
            body.put_u32(8 + event.len() as u32);
            body.put_slice(&[0, 0x53, 0x75, 0xb0]);
            body.put_u32(event.len() as u32);
        }
        body.put_slice(event);
    }
    framed(PUBLISH, &body)
}

/// How many publishes a frame confirms. Anything else that comes to a publisher is a refusal.
pub fn confirmed(key: u16, mut frame: Bytes) -> Result<u64> {
    if key != PUBLISH_CONFIRM {
        return Err(format!("frame {key} came instead of a confirmation").into());
    }
    frame.advance(1);
    Ok(u64::from(frame.get_u32()))
}

pub struct Chunk {
    pub first_offset: u64,
    pub events: u32,
    data: Bytes,
}

impl Chunk {
    /// None: not a chunk of events.
    pub fn of(key: u16, mut frame: Bytes) -> Result<Option<Self>> {
        if key != DELIVER {
            return Err(format!("frame {key} came instead of a chunk").into());
        }
        frame.advance(2);
        let (kind, _entries, events) = (frame.get_u8(), frame.get_u16(), frame.get_u32());
        frame.advance(16);
        let first_offset = frame.get_u64();
        frame.advance(4);
        let length = frame.get_u32() as usize;
        frame.advance(8);
        let data = frame.split_to(length.min(frame.len()));
        Ok((kind == USER_CHUNK).then_some(Self { first_offset, events, data }))
    }

    pub fn payloads(mut self) -> Result<Vec<Bytes>> {
        let mut payloads = Vec::with_capacity(self.events as usize);
        while self.data.remaining() >= 4 {
            let length = self.data.get_u32() as usize;
            if length > self.data.len() {
                return Err("a chunk ends within an entry".into());
            }
            let mut entry = self.data.split_to(length);
            match entry.get(3) {
                Some(0xa0) => entry.advance(5),
                Some(0xb0) => entry.advance(8),
                _ => return Err("an entry is not what was published".into()),
            }
            payloads.push(entry);
        }
        Ok(payloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_a_chunk_gives_back() {
        let events = [Bytes::from(vec![7; 200]), Bytes::from(vec![8; 1_000])];
        let mut published = publish(40, &events).freeze();
        // Past the frame's head, the publisher and the count; entries lack their numbers in a chunk.
        published.advance(8 + 1 + 4);
        let mut data = BytesMut::new();
        for length in [200 + 5, 1_000 + 8] {
            published.advance(8);
            data.put_slice(&published.split_to(4 + length));
        }
        let mut frame = BytesMut::new();
        frame.put_slice(&[0, 0x50, USER_CHUNK]);
        frame.put_u16(2);
        frame.put_u32(2);
        frame.put_bytes(0, 16);
        frame.put_u64(40);
        frame.put_u32(0);
        frame.put_u32(data.len() as u32);
        frame.put_bytes(0, 8);
        frame.put_slice(&data);
        let chunk = Chunk::of(DELIVER, frame.freeze()).expect("a chunk").expect("of events");
        assert_eq!((chunk.first_offset, chunk.events), (40, 2));
        assert_eq!(chunk.payloads().expect("whole"), events);
    }

    #[test]
    fn a_refusal_is_no_confirmation() {
        let frame = Bytes::from_static(&[0, 0, 0, 0, 9]);
        assert_eq!(confirmed(PUBLISH_CONFIRM, frame.clone()).expect("confirmed"), 9);
        assert!(confirmed(4, frame).is_err());
    }
}
