//! The sequencer against a model of one partition of a broker: random refusals, unknown outcomes, lost connections, and
//! copies of requests that a broker given up long ago still applies.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::UNIX_EPOCH,
};

use proptest::prelude::*;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    parcel::{Parcel, Placement, tests::parcel_of},
    receipt::{Outcome, Receipt},
    sequencer::{Answer, Effect, Request, Sequencer},
};
use crate::error::{Error, ErrorKind};

/// Events from this value on are refused by the broker.
const BAD: u8 = 200;

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Later,
    UnknownApplied,
    UnknownNotApplied,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<bool>),
    Answer(Fault),
    /// The connection ends after the broker has handled some requests more; the rest lurks.
    Disconnect {
        handled: usize,
    },
    /// A request of an ended connection is handled.
    Lurker,
}

/// One `PublishStream` as the broker sees it.
#[derive(Default)]
struct Stream {
    requests: VecDeque<Request>,
    refused: Option<i64>,
}

#[derive(Default)]
struct Run {
    epoch: u32,
    next: i64,
    /// First number, events, base offset.
    runs: Vec<(i64, Vec<u8>, i64)>,
}

#[derive(Default)]
struct Broker {
    log: Vec<u8>,
    producers: BTreeMap<Uuid, Run>,
    say_which: bool,
}

impl Broker {
    fn handle(&mut self, stream: &mut Stream, request: &Request, fault: Fault, now: Instant) -> Answer {
        if stream.refused.is_some_and(|first| first != request.first_sequence) {
            return Answer::Preceded;
        }
        stream.refused = None;
        let bad: Vec<usize> = (0..request.body.len()).filter(|place| request.body[*place] >= BAD).collect();
        if !bad.is_empty() {
            stream.refused = Some(request.first_sequence);
            let error = Error::new(ErrorKind::InvalidArgument, "INVALID_ARGUMENT", "bad");
            // A broker may name all of them, or stop at the first.
            let named = if request.first_sequence % 2 == 0 { bad.len() } else { 1 };
            let named = bad.into_iter().take(if self.say_which { named } else { 0 });
            return Answer::EventsRefused { bad: named.map(|place| (place, error.clone())).collect(), error };
        }
        match fault {
            Fault::Later => {
                stream.refused = Some(request.first_sequence);
                return Answer::Later(now);
            }
            Fault::UnknownNotApplied => return Answer::Unknown(now),
            Fault::None | Fault::UnknownApplied => {}
        }
        match (self.append(request), fault) {
            (Some(answer), Fault::None) => answer,
            (Some(_), _) => Answer::Unknown(now),
            (None, _) => self.unknown_or_gap(request),
        }
    }

    fn unknown_or_gap(&self, request: &Request) -> Answer {
        if self.producers.contains_key(&request.identity.producer) {
            return Answer::OutOfSequence;
        }
        Answer::IdentityLost(Error::new(ErrorKind::FailedPrecondition, "PRODUCER_UNKNOWN", "never heard of"))
    }

    fn append(&mut self, request: &Request) -> Option<Answer> {
        if request.first_sequence > 0 && !self.producers.contains_key(&request.identity.producer) {
            return None;
        }
        let run = self.producers.entry(request.identity.producer).or_default();
        if request.identity.epoch > run.epoch && request.first_sequence == 0 {
            *run = Run { epoch: request.identity.epoch, ..Run::default() };
        }
        // A fenced lurker changes nothing; nobody hears its answer.
        if request.identity.epoch != run.epoch || request.first_sequence > run.next {
            return None;
        }
        let events = request.body.to_vec();
        let (base, duplicate) = if request.first_sequence == run.next {
            let base = self.log.len() as i64;
            self.log.extend(&events);
            run.runs.push((run.next, events.clone(), base));
            run.next += events.len() as i64;
            (base, false)
        } else {
            let (_, logged, base) = run
                .runs
                .iter()
                .find(|(first, ..)| *first == request.first_sequence)
                .expect("a repeat begins where it began");
            assert_eq!(logged, &events, "a repeat must be the same bytes");
            (*base, true)
        };
        let runs = vec![(base, events.len() as u32)];
        Some(Answer::Appended(Placement {
            partition: 0,
            log_epoch: 0,
            append_time: UNIX_EPOCH,
            duplicate,
            known: Vec::new(),
            runs,
        }))
    }
}

struct World {
    broker: Broker,
    sequencer: Sequencer,
    stream: Stream,
    lurkers: VecDeque<Stream>,
    waiting: VecDeque<Parcel>,
    sent: Vec<(u8, Receipt)>,
    now: Instant,
    limit: usize,
}

impl World {
    fn new(say_which: bool, limit: usize) -> Self {
        Self {
            broker: Broker { say_which, ..Broker::default() },
            sequencer: Sequencer::new(Uuid::new_v4()),
            stream: Stream::default(),
            lurkers: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: Vec::new(),
            now: Instant::now(),
            limit,
        }
    }

    fn send(&mut self, bad: &[bool]) {
        let first = self.sent.len();
        let value = |index: usize, bad: bool| {
            if bad { BAD } else { ((first + index) % usize::from(BAD)) as u8 }
        };
        let events: Vec<u8> = bad.iter().enumerate().map(|(index, bad)| value(index, *bad)).collect();
        let parcel = parcel_of(&events, first as u64);
        let outcome: &Arc<Outcome> = &parcel.spans[0].outcome;
        let receipts = (0..).map(|index| Receipt::new(Arc::clone(outcome), index));
        self.sent.extend(events.iter().copied().zip(receipts));
        self.waiting.push_back(parcel);
    }

    fn pump(&mut self) {
        loop {
            while let Some(request) = self.sequencer.next(self.limit, self.now) {
                self.stream.requests.push_back(request);
            }
            if self.sequencer.wants_fresh_stream() {
                self.disconnect(0);
            } else if self.sequencer.takes(self.limit, self.now)
                && let Some(parcel) = self.waiting.pop_front()
            {
                self.sequencer.push(parcel);
            } else {
                return;
            }
        }
    }

    fn apply(effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Appended(parcel, placement) => parcel.settle_appended(placement),
                Effect::Failed(parcel, error) | Effect::GaveUp(parcel, error) => parcel.settle_failed(&error),
            }
        }
    }

    fn answer(&mut self, fault: Fault) {
        if let Some(request) = self.stream.requests.pop_front() {
            let answer = self.broker.handle(&mut self.stream, &request, fault, self.now);
            Self::apply(self.sequencer.answered(request.ticket, answer));
        }
    }

    fn disconnect(&mut self, handled: usize) {
        let mut old = std::mem::take(&mut self.stream);
        for _ in 0..handled {
            if let Some(request) = old.requests.pop_front() {
                self.broker.handle(&mut old, &request, Fault::None, self.now);
            }
        }
        self.lurkers.push_back(old);
        Self::apply(self.sequencer.disconnected());
    }

    fn lurker(&mut self) {
        if let Some(mut stream) = self.lurkers.pop_front()
            && let Some(request) = stream.requests.pop_front()
        {
            self.broker.handle(&mut stream, &request, Fault::None, self.now);
            self.lurkers.push_back(stream);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(bad) => self.send(bad),
            Step::Answer(fault) => self.answer(*fault),
            Step::Disconnect { handled } => self.disconnect(*handled),
            Step::Lurker => self.lurker(),
        }
        self.pump();
    }

    fn finish(&mut self) {
        let mut rounds = 0;
        while !(self.sequencer.is_empty() && self.waiting.is_empty()) {
            self.step(&Step::Answer(Fault::None));
            rounds += 1;
            assert!(rounds < 10_000, "the partition must come to an end");
        }
    }

    fn check(&self) {
        let good: Vec<u8> = self.sent.iter().map(|(event, _)| *event).filter(|event| *event < BAD).collect();
        assert_eq!(self.broker.log, good, "every good event is in the log once, in the order of the sends");
        for (event, receipt) in &self.sent {
            match receipt.outcome().expect("every receipt is settled") {
                Ok(appended) => assert_eq!(self.broker.log[appended.offset as usize], *event),
                Err(error) => assert!(*event >= BAD, "a good event failed: {error}"),
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Later),
        1 => Just(Fault::UnknownApplied),
        1 => Just(Fault::UnknownNotApplied),
    ];
    prop_oneof![
        4 => proptest::collection::vec(proptest::bool::weighted(0.1), 1..6).prop_map(Step::Send),
        6 => fault.prop_map(Step::Answer),
        1 => (0..4_usize).prop_map(|handled| Step::Disconnect { handled }),
        2 => Just(Step::Lurker),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_good_event_is_appended_once_and_in_order_whatever_breaks(
        steps in proptest::collection::vec(step(), 1..80),
        say_which: bool,
        limit in 1..6_usize,
    ) {
        let mut world = World::new(say_which, limit);
        for step in &steps {
            world.step(step);
        }
        world.finish();
        world.check();
    }
}
