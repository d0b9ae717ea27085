//! Payloads that carry their number, and the proof that each came back once and whole.

use bytes::Bytes;

use crate::payloads::{Kind, Pool};

/// `{"order_id":"` stands before the number, 16 hexadecimal digits.
const AT: usize = 13;
const DIGITS: usize = 16;
const TEMPLATES: usize = 8_192;

/// Event number n: a payload of the bench's generator with n as its order id.
#[derive(Clone)]
pub struct Numbered(std::sync::Arc<[Bytes]>);

impl Numbered {
    pub fn new(size: usize) -> Self {
        let mut pool = Pool::new(Kind::Json, size);
        Self((0..TEMPLATES).map(|_| pool.next()).collect())
    }

    pub fn payload(&self, number: u64) -> Bytes {
        let mut payload = self.template(number).to_vec();
        for (place, byte) in payload[AT..AT + DIGITS].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize];
        }
        Bytes::from(payload)
    }

    fn template(&self, number: u64) -> &[u8] {
        &self.0[number as usize % TEMPLATES]
    }

    /// The number of a payload that is exactly as it was published.
    fn number(&self, payload: &[u8]) -> Option<u64> {
        let number = u64::from_str_radix(std::str::from_utf8(payload.get(AT..AT + DIGITS)?).ok()?, 16).ok()?;
        let template = self.template(number);
        let is_whole = payload.len() == template.len()
            && payload[..AT] == template[..AT]
            && payload[AT + DIGITS..] == template[AT + DIGITS..];
        is_whole.then_some(number)
    }
}

/// What one consumer has got: distinct events; whatever else came is a fault.
pub struct Tally {
    numbered: Numbered,
    seen: Vec<u64>,
    pub events: u64,
    pub repeated: u64,
    pub damaged: u64,
}

impl Tally {
    pub fn new(numbered: Numbered) -> Self {
        Self { numbered, seen: Vec::new(), events: 0, repeated: 0, damaged: 0 }
    }

    /// The event's number, if it is whole.
    pub fn take(&mut self, payload: &[u8]) -> Option<u64> {
        // No run has 2^32 events: a larger number is damage, and must not size the table.
        let Some(number) = self.numbered.number(payload).filter(|number| *number < 1 << 32) else {
            self.damaged += 1;
            return None;
        };
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        match self.seen[word] & bit {
            0 => self.events += 1,
            _ => self.repeated += 1,
        }
        self.seen[word] |= bit;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_and_a_repeat_is_told() {
        let numbered = Numbered::new(200);
        let mut tally = Tally::new(numbered.clone());
        assert_eq!((0..1_000).filter_map(|number| tally.take(&numbered.payload(number))).count(), 1_000);
        tally.take(&numbered.payload(7));
        assert_eq!((tally.events, tally.repeated, tally.damaged), (1_000, 1, 0));
    }

    #[test]
    fn a_payload_that_lost_or_changed_a_byte_is_damaged() {
        let numbered = Numbered::new(1_000);
        let mut tally = Tally::new(numbered.clone());
        let whole = numbered.payload(3);
        for place in [0, AT, 500, 999] {
            let mut changed = whole.to_vec();
            changed[place] ^= 1;
            tally.take(&changed);
        }
        tally.take(&whole[..999]);
        tally.take(b"");
        assert_eq!((tally.events, tally.damaged), (0, 6));
    }
}
