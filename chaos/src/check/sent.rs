//! What producers sent, by producer and number: dense numbers make it arrays.

use std::collections::HashMap;

use super::findings::Findings;
use crate::history::{Key, Micros, Outcome, Producer, ProducerKind, Record, Run};

/// A producer's number, packed: 20 bits of producer, 44 of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packed(u64);

/// Stands for a payload that does not say what it is.
pub const UNREADABLE: u32 = u32::MAX;

impl Packed {
    pub fn new(producer: u32, number: u64) -> Packed {
        if producer == UNREADABLE { Packed(u64::MAX) } else { Packed(u64::from(producer) << 44 | number) }
    }

    pub fn is_readable(self) -> bool {
        self.0 != u64::MAX
    }

    pub fn producer(self) -> u32 {
        (self.0 >> 44) as u32
    }

    pub fn number(self) -> u64 {
        self.0 & ((1 << 44) - 1)
    }
}

impl std::fmt::Display for Packed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_readable() {
            write!(formatter, "event {} of producer {}", self.number(), self.producer())
        } else {
            formatter.write_str("an unreadable event")
        }
    }
}

/// One event as its producer knows it.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub outcome: Outcome,
    pub partition: u16,
    /// Where it was acknowledged.
    pub acked: Option<i64>,
    /// When its publish began, in milliseconds.
    pub sent_ms: u32,
}

/// All events of one producer.
#[derive(Debug)]
pub struct Sender {
    pub kind: ProducerKind,
    pub stream: u16,
    events: Vec<Option<Event>>,
}

impl Sender {
    pub fn event(&self, number: u64) -> Option<&Event> {
        self.events.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// Numbers with what became of them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Event)> {
        self.events.iter().enumerate().filter_map(|(number, event)| Some((number as u64, event.as_ref()?)))
    }
}

/// Everything that was sent.
#[derive(Debug, Default)]
pub struct Sent {
    pub senders: HashMap<u32, Sender>,
}

impl Sent {
    pub fn gather(records: &[Record], findings: &mut Findings) -> Sent {
        let mut sent = Sent::default();
        for record in records {
            match record {
                Record::Producer(Producer { p, kind, stream }) => {
                    sent.senders.insert(*p, Sender { kind: *kind, stream: *stream, events: Vec::new() });
                }
                Record::Publish(publish) => {
                    let Some(sender) = sent.senders.get_mut(&publish.run.0) else {
                        continue;
                    };
                    let mut places = publish.at.iter().flat_map(|(off, count)| *off..*off + i64::from(*count));
                    for (_, number) in publish.run.values() {
                        let place = places.next();
                        let event = Event {
                            outcome: publish.outcome,
                            partition: publish.k.1,
                            acked: place,
                            sent_ms: to_ms(publish.t0),
                        };
                        settle(sender, number, event, publish.k, publish.run, findings);
                    }
                }
                _ => {}
            }
        }
        sent
    }

    pub fn event(&self, value: Packed) -> Option<(&Sender, &Event)> {
        let sender = self.senders.get(&value.producer())?;
        Some((sender, sender.event(value.number())?))
    }
}

fn to_ms(time: Micros) -> u32 {
    u32::try_from(time / 1_000).unwrap_or(u32::MAX)
}

/// A later word about an event counts when it is surer; two places for one event are a duplicate.
fn settle(sender: &mut Sender, number: u64, event: Event, k: Key, run: Run, findings: &mut Findings) {
    let index = number as usize;
    if sender.events.len() <= index {
        sender.events.resize(index + 1, None);
    }
    let slot = &mut sender.events[index];
    let Some(known) = slot else {
        *slot = Some(event);
        return;
    };
    if let (Some(first), Some(second)) = (known.acked, event.acked)
        && (first != second || known.partition != event.partition)
    {
        findings.add("S2", || {
            format!("event {number} of producer {} in {k:?} was acknowledged at {first} and at {second}", run.0)
        });
    }
    known.sent_ms = known.sent_ms.min(event.sent_ms);
    match (known.outcome, event.outcome) {
        (Outcome::Ok, _) => {}
        (_, Outcome::Ok) => {
            known.outcome = Outcome::Ok;
            known.acked = event.acked;
            known.partition = event.partition;
        }
        (_, Outcome::Info) | (Outcome::Info, _) => known.outcome = Outcome::Info,
        (Outcome::Fail, Outcome::Fail) => {}
    }
}
