//! Per-key order in shared groups: for a key, event n + 1 is delivered only when n is acknowledged, dead-lettered or filtered.

use super::{dead_letters, retry_rows, shared, stage, until_done};
use crate::support::member::{Event, Member, ack, nack};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, event};
use eventflow_proto::v1::{self, event_outcome::Outcome};
use eventflow_testkit::within;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt;

fn by_key(max_attempts: u32) -> v1::ConsumerGroup {
    v1::ConsumerGroup { key_order: true, ..shared(max_attempts) }
}

/// Publishes events whose text is `KEY-NUMBER`, with that key, in this order; `-NUMBER` has none. Each text is its type too.
async fn publish(clients: &mut Clients, partition: u32, texts: &[String]) {
    for part in texts.chunks(1_000) {
        let keyed = |text: &String| {
            let key = key_of(text);
            let key = (!key.is_empty()).then(|| key.to_owned());
            v1::Event { key, r#type: text.clone(), ..event(text) }
        };
        let request = v1::PublishRequest {
            stream: "orders".into(),
            events: part.iter().map(keyed).collect(),
            partition: Some(partition),
            ..Default::default()
        };
        clients.publisher.publish(request).await.expect("published");
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn key_of(text: &str) -> &str {
    text.split_once('-').expect("a key and a number").0
}

fn number_of(text: &str) -> usize {
    text.split_once('-').expect("a key and a number").1.parse().expect("a number")
}

/// A nack that asks for a wait.
fn later(wait: Duration) -> Outcome {
    let delay =
        prost_types::Duration { seconds: wait.as_secs().cast_signed(), nanos: wait.subsec_nanos().cast_signed() };
    Outcome::Nack(v1::Nack {
        reason: "not now".into(),
        error_class: "test".into(),
        delay: Some(delay),
        ..Default::default()
    })
}

const HOUR: Duration = Duration::from_secs(3_600);

/// What comes within a moment.
async fn soon(member: &mut Member) -> Vec<Event> {
    tokio::time::timeout(Duration::from_millis(700), member.events()).await.unwrap_or_default()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.text.as_str()).collect()
}

/// What members saw, held against the order of keys.
#[derive(Default)]
struct Watch {
    /// Of each key: how many are settled, in their order, and the one that a member has.
    keys: Mutex<BTreeMap<String, (usize, Option<String>)>>,
    done: AtomicUsize,
}

impl Watch {
    fn delivered(&self, member: &str, text: &str) {
        let mut keys = self.keys.lock().expect("no panic");
        let (settled, with) = keys.entry(key_of(text).to_owned()).or_default();
        assert_eq!(*with, None, "{text} came to {member} while another event of its key is with a member");
        assert!(number_of(text) <= *settled, "{text} came to {member} when {settled} of its key were settled");
        *with = Some(member.to_owned());
    }

    /// Said before the member says it: the next one may come at once.
    fn settles(&self, text: &str) {
        let mut keys = self.keys.lock().expect("no panic");
        let (settled, with) = keys.get_mut(key_of(text)).expect("delivered");
        self.done.fetch_add(usize::from(number_of(text) == *settled), Ordering::SeqCst);
        *settled = (*settled).max(number_of(text) + 1);
        *with = None;
    }

    /// Its member does not have it any more.
    fn drops(&self, text: &str) {
        let mut keys = self.keys.lock().expect("no panic");
        keys.get_mut(key_of(text)).expect("delivered").1 = None;
    }
}

/// A member that comes, settles some events, and leaves with others in its hands.
async fn visit(clients: &Clients, name: &str, events: usize, all: usize, watch: &Watch) -> usize {
    let mut member = Member::join(clients, "workers", name).await.expect("joined");
    let mut settled = 0;
    let mut held = Vec::new();
    while settled < events && watch.done.load(Ordering::SeqCst) < all {
        let came = tokio::time::timeout(Duration::from_millis(200), member.events()).await.unwrap_or_default();
        came.iter().for_each(|event| watch.delivered(name, &event.text));
        // Three stay in its hands, but when nothing comes it sits on nothing that others wait for.
        let keep = if came.is_empty() { 0 } else { 3 };
        held.extend(came);
        while held.len() > keep {
            let event: Event = held.remove(0);
            watch.settles(&event.text);
            assert_eq!(member.settle_one(&event, ack()).await, None, "{}", event.text);
            settled += 1;
        }
    }
    held.iter().for_each(|event| watch.drops(&event.text));
    member.leave().await;
    settled
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_members_come_and_go_at_two_brokers_and_each_key_keeps_its_order() {
    const KEYS: usize = 30;
    const EACH: usize = 40;
    let (ground, _app, mut here) = stage(4, by_key(5)).await;
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let watch = Watch::default();
    for number in 0..EACH {
        for partition in 0..4 {
            let keys = (0..KEYS).filter(|key| key % 4 == partition).map(|key| format!("k{key}-{number}"));
            publish(&mut here, partition as u32, &keys.collect::<Vec<_>>()).await;
        }
    }
    let all = KEYS * EACH;
    let settled = [const { AtomicUsize::new(0) }; 2];
    let actors = (0..10).map(|actor| {
        let (clients, watch, settled) = (if actor % 2 == 0 { &here } else { &there }, &watch, &settled[actor % 2]);
        async move {
            let mut round = 0;
            while watch.done.load(Ordering::SeqCst) < all {
                round += 1;
                let name = format!("m{actor}-{round}");
                let events = 20 + 7 * ((actor + round) % 5);
                settled.fetch_add(visit(clients, &name, events, all, watch).await, Ordering::SeqCst);
            }
        }
    });
    within("all events", futures_util::future::join_all(actors)).await;
    assert!(settled.iter().all(|count| count.load(Ordering::SeqCst) > 0), "both brokers had partitions");
    // Somebody settles what was acknowledged by nobody.
    let mut last = Member::join(&here, "workers", "last").await.expect("joined");
    let finish = async {
        loop {
            let events = last.events().await;
            let outcomes = events.iter().map(|event| event.outcome(ack())).collect();
            assert!(last.settle(outcomes).await.is_empty());
        }
    };
    let mut clients = here.clone();
    tokio::select! {
        () = finish => {}
        lag = until_done(&mut clients) => assert_eq!(lag.hot_keys, []),
    }
    let client = ground.database.connect().await;
    let claims: i64 = client.query_one("select count(*) from eventflow.group_claim", &[]).await.expect("claims").get(0);
    assert_eq!((claims, retry_rows(&ground).await), (0, 0), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_retry_parks_its_later_events_while_others_flow() {
    let (ground, _app, mut clients) = stage(1, by_key(5)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, 0, &texts(&["a-0", "b-0", "a-1", "-0", "b-1"])).await;
    let first = member.some_events(3).await;
    assert_eq!(names(&first), ["a-0", "b-0", "-0"]);
    assert_eq!(member.settle_one(&first[0], later(Duration::from_secs(3))).await, None);
    publish(&mut clients, 0, &texts(&["a-2", "-1"])).await;
    assert_eq!(member.settle_one(&first[1], ack()).await, None);
    let mut others = member.some_events(2).await;
    others.sort_by(|one, other| one.text.cmp(&other.text));
    assert_eq!(names(&others), ["-1", "b-1"], "what is of no key, or of another, waits for nobody");

    let parked = "select event_offset from eventflow.retry where parked order by 1";
    let client = ground.database.connect().await;
    within("two parked events", async {
        // poll
        while client.query(parked, &[]).await.expect("rows").len() < 2 {}
    })
    .await;
    let ask = v1::ExplainEventRequest { name: "workers".into(), partition: 0, offset: Some(2) };
    let told = clients.groups.explain_event(ask).await.expect("an explanation").into_inner();
    assert_eq!((told.status(), told.behind_offset), (v1::DeliveryStatus::BehindKey, Some(0)));
    let hot = within("the hot key", async {
        loop {
            // poll
            if let Some(hot) = clients.lag("workers").await.hot_keys.pop() {
                return hot;
            }
        }
    })
    .await;
    assert_eq!((hot.key.as_str(), hot.waiting_events, hot.behind_offset), ("a", 2, 0));

    let again = member.some_events(1).await.remove(0);
    assert_eq!((again.text.as_str(), again.attempt, again.last_reason.as_str()), ("a-0", 2, "not now"));
    assert!(soon(&mut member).await.is_empty(), "the rest waits for it");
    assert_eq!(member.settle_one(&again, ack()).await, None);
    for expected in ["a-1", "a-2"] {
        let next = member.some_events(1).await;
        assert_eq!((names(&next), next[0].attempt), (vec![expected], 1), "waiting is no attempt");
        assert_eq!(member.settle_one(&next[0], ack()).await, None);
    }
    for event in first[2..].iter().chain(&others) {
        assert_eq!(member.settle_one(event, ack()).await, None);
    }
    publish(&mut clients, 0, &texts(&["a-3"])).await;
    let direct = member.some_events(1).await;
    assert_eq!(member.settle_one(&direct[0], ack()).await, None);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_frees_its_key_and_a_redriven_one_comes_alone_of_it() {
    let (ground, _app, mut clients) = stage(1, by_key(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, 0, &texts(&["a-0", "a-1", "a-2"])).await;
    for attempt in 1..=2 {
        let event = member.some_events(1).await.remove(0);
        assert_eq!((event.text.as_str(), event.attempt), ("a-0", attempt));
        assert_eq!(member.settle_one(&event, nack("poison")).await, None);
    }
    let next = member.some_events(1).await.remove(0);
    assert_eq!(next.text, "a-1");
    assert_eq!(dead_letters(&ground).await.len(), 1);
    let request = v1::RedriveDeadLettersRequest { group: "workers".into(), ..Default::default() };
    let redriven = clients.dead_letters.redrive_dead_letters(request).await.expect("redriven").into_inner();
    assert_eq!(redriven.dead_letters, 1);
    assert!(soon(&mut member).await.is_empty(), "another event of its key is with a member");
    assert_eq!(member.settle_one(&next, ack()).await, None);
    let mut order = Vec::new();
    while order.len() < 2 {
        let came = member.events().await;
        assert_eq!(came.len(), 1, "one at a time: {came:?}");
        assert!(soon(&mut member).await.is_empty());
        assert_eq!(member.settle_one(&came[0], ack()).await, None);
        order.push(came[0].text.clone());
    }
    order.sort();
    assert_eq!(order, ["a-0", "a-2"]);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_of_many_events_stalls_nobody_and_costs_each_event_the_same() {
    const HOT: usize = 4_000;
    let (ground, _app, mut clients) = stage(1, by_key(5)).await;
    let hot = (0..HOT).map(|number| format!("hot-{number}"));
    let others = (0..200).map(|number| format!("k{number}-0"));
    publish(&mut clients, 0, &hot.chain(others).collect::<Vec<_>>()).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let (mut first, mut seen) = (None, BTreeSet::new());
    while seen.len() < 200 {
        for event in member.events().await {
            if key_of(&event.text) == "hot" {
                assert!(first.is_none() && number_of(&event.text) == 0, "{}", event.text);
                first = Some(event);
            } else {
                assert_eq!(member.settle_one(&event, ack()).await, None);
                assert!(seen.insert(event.text));
            }
        }
    }
    let told = v1::ExplainEventRequest { name: "workers".into(), partition: 0, offset: Some(7) };
    let told = clients.groups.explain_event(told).await.expect("an explanation").into_inner();
    assert_eq!((told.status(), told.behind_offset), (v1::DeliveryStatus::BehindKey, Some(0)));
    assert_eq!(retry_rows(&ground).await, 0, "what waits for a member is not copied");
    let mut next = first.expect("the first of the hot key");
    for number in 1..HOT {
        let outcomes = vec![next.outcome(ack())];
        member.send(v1::commit_request::Frame::Outcomes(v1::CommitOutcomes { outcomes })).await.expect("sent");
        let came = member.events().await;
        assert_eq!(names(&came), [format!("hot-{number}")], "in order, one at a time");
        next = came.into_iter().next().expect("one");
        // The next one does not wait until the last one's outcome is durable; who wants to know asks.
        let to_read = if number % 50 == 0 || number == HOT - 1 { (number - 1) % 50 + 1 } else { 0 };
        for _ in 0..to_read {
            assert!(member.answer().await.expect("an answer").failures.is_empty());
        }
    }
    assert_eq!(member.settle_one(&next, ack()).await, None);
    until_done(&mut clients).await;
    // Work, not time: claims are of many events each, and each raised the epoch by one.
    let client = ground.database.connect().await;
    let sql = "select lease_epoch from eventflow.consumer_offset";
    let claims: i64 = client.query_one(sql, &[]).await.expect("an epoch").get(0);
    assert!(claims <= (HOT as i64 + 200) / 32 + 2, "{claims} claims");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_brokers_keys_go_on_in_order_also_behind_a_retry() {
    let (ground, _app, mut clients) = stage(1, by_key(5)).await;
    let mut doomed = BrokerProcess::start(&ground.database.url(), &[]).await;
    let there = Clients::at(&doomed.url(), &ground.key("acme").await).await;
    let mut lost = Member::join(&there, "workers", "lost").await.expect("joined");
    let all: Vec<String> = (0..5).flat_map(|number| ["a", "b", "c"].map(|key| format!("{key}-{number}"))).collect();
    publish(&mut clients, 0, &all).await;
    let held = lost.some_events(3).await;
    assert_eq!(names(&held), ["a-0", "b-0", "c-0"]);
    assert_eq!(lost.settle_one(&held[0], later(Duration::from_secs(1))).await, None);
    assert_eq!(lost.settle_one(&held[1], ack()).await, None);
    assert_eq!(names(&lost.some_events(1).await), ["b-1"]);
    doomed.kill().await;
    let watch = Watch::default();
    watch.delivered("lost", "b-0");
    watch.settles("b-0");
    let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
    while watch.done.load(Ordering::SeqCst) < all.len() {
        for event in member.events().await {
            watch.delivered("next", &event.text);
            let attempt = if event.text == "a-0" { 2 } else { 1 };
            assert_eq!(event.attempt, attempt, "{}: a broker's death does not count", event.text);
            watch.settles(&event.text);
            assert_eq!(member.settle_one(&event, ack()).await, None);
        }
    }
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_to_another_brokers_members_once_what_was_dealt_is_settled() {
    let (ground, _app, mut here) = stage(2, by_key(5)).await;
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let mut one = Member::join(&here, "workers", "one").await.expect("joined");
    for partition in 0..2 {
        publish(&mut here, partition, &texts(&["a-0", "a-1"])).await;
    }
    let held = one.some_events(2).await;
    let mut two = Member::join(&there, "workers", "two").await.expect("joined");
    assert!(
        tokio::time::timeout(Duration::from_millis(1_500), two.events()).await.is_err(),
        "each key has one on its way"
    );
    for event in &held {
        assert_eq!(one.settle_one(event, ack()).await, None, "draining takes nothing from who has it");
    }
    let (mine, theirs) = tokio::join!(one.some_events(1), two.some_events(1));
    assert_eq!((names(&mine), names(&theirs)), (vec!["a-1"], vec!["a-1"]));
    assert_ne!(mine[0].partition, theirs[0].partition);
    assert_eq!(one.settle_one(&mine[0], ack()).await, None);
    assert_eq!(two.settle_one(&theirs[0], ack()).await, None);
    until_done(&mut here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_forgets_what_is_parked_and_each_key_begins_again_in_order() {
    let (_ground, _app, mut clients) = stage(1, by_key(5)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, 0, &texts(&["a-0", "a-1", "a-2", "b-0"])).await;
    let first = member.some_events(2).await;
    assert_eq!(member.settle_one(&first[0], later(HOUR)).await, None);
    within("two parked events", async {
        // poll
        while clients.lag("workers").await.retry_events < 3 {}
    })
    .await;
    let to = Some(v1::Position { at: Some(v1::position::At::Earliest(true)) });
    let seek = v1::SeekRequest { name: "workers".into(), to, ..Default::default() };
    let moved = clients.groups.seek(seek).await.expect("moved").into_inner().partitions;
    assert_eq!(moved[0].cleared_retries, 3, "what waited behind the failed one, too");
    assert!(member.settle_one(&first[1], ack()).await.is_some(), "what was delivered before is void");
    let mut a = Vec::new();
    let mut b = 0;
    while a.len() < 3 || b < 1 {
        for event in member.events().await {
            assert_eq!((event.attempt, member.settle_one(&event, ack()).await), (1, None), "{}", event.text);
            if key_of(&event.text) == "a" { a.push(event.text) } else { b += 1 }
        }
    }
    assert_eq!((a, b), (texts(&["a-0", "a-1", "a-2"]), 1));
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_leaves_out_holds_no_key_up() {
    let group = v1::ConsumerGroup { filter: "type != \"a-1\"".into(), ..by_key(5) };
    let (_ground, _app, mut clients) = stage(1, group).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, 0, &texts(&["a-0", "a-1", "a-2"])).await;
    let first = member.some_events(1).await;
    assert_eq!(names(&first), ["a-0"]);
    assert_eq!(member.settle_one(&first[0], ack()).await, None);
    let next = member.some_events(1).await;
    assert_eq!(names(&next), ["a-2"]);
    assert_eq!(member.settle_one(&next[0], ack()).await, None);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_shared_group_keeps_the_order_of_keys() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    let group = v1::ConsumerGroup { name: "g".into(), stream: "orders".into(), key_order: true, ..Default::default() };
    let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
    let refused = clients.groups.create_consumer_group(request).await.expect_err("ordered already");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.get_details_bad_request().expect("a field").field_violations[0].field, "group.key_order");
    assert!(clients.create_group_with(by_key(5)).await.key_order);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_events_of_a_slow_key_stop_its_partition_and_that_is_said() {
    const WAITING_MAX: usize = 10_000;
    let (_ground, _app, mut clients) = stage(1, by_key(5)).await;
    let hot = (0..WAITING_MAX + 50).map(|number| format!("hot-{number}"));
    publish(&mut clients, 0, &hot.chain(["other-0".to_owned()]).collect::<Vec<_>>()).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let first = member.some_events(1).await;
    assert_eq!(names(&first), ["hot-0"]);
    let ask =
        |offset: usize| v1::ExplainEventRequest { name: "workers".into(), partition: 0, offset: Some(offset as i64) };
    let told = within("the backlog", async {
        loop {
            // poll
            let told = clients.groups.explain_event(ask(WAITING_MAX + 50)).await.expect("an explanation").into_inner();
            if told.status() == v1::DeliveryStatus::KeyBacklog {
                return told;
            }
        }
    })
    .await;
    assert_eq!(told.behind_offset, Some(0), "{told:?}");
    let hot = within("all that waits in the statistics", async {
        loop {
            // poll
            let hot = clients.lag("workers").await.hot_keys.pop();
            if let Some(hot) = hot.filter(|hot| hot.waiting_events == WAITING_MAX as i64) {
                return hot;
            }
        }
    })
    .await;
    assert_eq!((hot.key.as_str(), hot.behind_offset), ("hot", 0));
    // Whoever had it goes, and the next member gets it although so much waits for it.
    member.leave().await;
    let mut next = Member::join(&clients, "workers", "two").await.expect("joined");
    let again = next.some_events(1).await;
    assert_eq!((names(&again), again[0].attempt), (vec!["hot-0"], 1));
    assert_eq!(next.settle_one(&again[0], ack()).await, None);
    assert_eq!(names(&next.some_events(1).await), ["hot-1"]);
}
