//! Payloads that say what they are, and prove it.
//!
//! A payload is a head (who wrote it, where to, which number) with a checksum, then a tail that follows from the head. So a
//! reader recognizes damage, and events of another stream, producer or run, without knowing what was sent.

use std::fmt;

/// Bytes of the smallest payload.
pub const HEAD_BYTES: usize = 28;

const MAGIC: u16 = 0xEF0C;

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The run's mark: lower bits of its seed.
    pub mark: u32,
    pub stream: u16,
    pub producer: u32,
    pub number: u64,
}

/// Why bytes are no payload of this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt(pub String);

impl fmt::Display for Corrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The payload of a value, of so many bytes, at least the head.
pub fn payload(value: Value, bytes: usize) -> Vec<u8> {
    let length = bytes.max(HEAD_BYTES);
    let mut out = Vec::with_capacity(length);
    out.extend(MAGIC.to_be_bytes());
    out.extend(value.stream.to_be_bytes());
    out.extend(value.mark.to_be_bytes());
    out.extend(value.producer.to_be_bytes());
    out.extend(value.number.to_be_bytes());
    out.extend((length as u32).to_be_bytes());
    out.extend(crc32c::crc32c(&out).to_be_bytes());
    let mut tail = Tail::of(&out);
    while out.len() < length {
        let word = tail.next();
        let left = (length - out.len()).min(8);
        out.extend(&word[..left]);
    }
    out
}

/// What a payload says, when it is intact.
pub fn verify(bytes: &[u8]) -> Result<Value, Corrupt> {
    if bytes.len() < HEAD_BYTES {
        return Err(Corrupt(format!("only {} bytes", bytes.len())));
    }
    let (head, tail) = bytes.split_at(HEAD_BYTES);
    let checksum = crc32c::crc32c(&head[..HEAD_BYTES - 4]);
    if checksum.to_be_bytes() != head[HEAD_BYTES - 4..] {
        return Err(Corrupt("the head's checksum is wrong".into()));
    }
    if be(&head[..2]) != u64::from(MAGIC) || be(&head[20..24]) != bytes.len() as u64 {
        return Err(Corrupt("magic or length is wrong".into()));
    }
    let mut expected = Tail::of(head);
    for (index, chunk) in tail.chunks(8).enumerate() {
        if expected.next()[..chunk.len()] != *chunk {
            return Err(Corrupt(format!("the tail is wrong at byte {}", HEAD_BYTES + 8 * index)));
        }
    }
    Ok(Value {
        stream: be(&head[2..4]) as u16,
        mark: be(&head[4..8]) as u32,
        producer: be(&head[8..12]) as u32,
        number: be(&head[12..20]),
    })
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// SplitMix64 from the head on.
struct Tail(u64);

impl Tail {
    fn of(head: &[u8]) -> Tail {
        Tail(be(&head[4..12]) ^ be(&head[12..20]).rotate_left(32) ^ be(&head[20..28]))
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Value = Value { mark: 7, stream: 3, producer: 70_000, number: 1 << 40 };

    #[test]
    fn a_payload_says_what_it_is() {
        for bytes in [0, HEAD_BYTES, 29, 100, 60_001] {
            assert_eq!(verify(&payload(VALUE, bytes)), Ok(VALUE), "{bytes} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let intact = payload(VALUE, 61);
        for bit in 0..intact.len() * 8 {
            let mut damaged = intact.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_tail_of_another_event_and_a_missing_end_are_seen() {
        let mut mixed = payload(VALUE, 100);
        let other = payload(Value { number: 5, ..VALUE }, 100);
        mixed[HEAD_BYTES..].copy_from_slice(&other[HEAD_BYTES..]);
        assert!(verify(&mixed).is_err());
        assert!(verify(&payload(VALUE, 100)[..99]).is_err());
        assert!(verify(b"short").is_err());
    }
}
