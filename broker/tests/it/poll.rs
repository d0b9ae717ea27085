//! Poll and Acknowledge: sessions without a stream.

use crate::support::member::{Member, ack, nack};
use crate::support::{Clients, Ground, reason, text, turn};
use eventflow_broker::identity::ApiKey;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::event_outcome::Outcome;
use eventflow_proto::v1::{self, DeliveryMode, PayloadView};
use eventflow_testkit::within;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// What is promised of a revocation.
const BOUND: Duration = Duration::from_secs(5);

async fn stage(mode: DeliveryMode, settings: &[(&str, &str)]) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(settings).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 10_000_000 });
    let retry_policy = Some(v1::RetryPolicy {
        initial_backoff: soon,
        multiplier: Some(1.0),
        max_backoff: soon,
        max_attempts: Some(5),
    });
    let group = v1::ConsumerGroup {
        name: "workers".into(),
        stream: "orders".into(),
        delivery_mode: mode.into(),
        retry_policy,
        ..Default::default()
    };
    clients.create_group_with(group).await;
    (ground, app, clients)
}

fn first(max_events: u32) -> v1::PollRequest {
    v1::PollRequest {
        group: "workers".into(),
        member_name: "one".into(),
        max_events,
        payload_view: PayloadView::Text.into(),
        ..Default::default()
    }
}

fn behind(answer: &v1::PollResponse) -> v1::PollRequest {
    v1::PollRequest { cursor: answer.cursor.clone(), payload_view: PayloadView::Text.into(), ..Default::default() }
}

fn at_once(request: v1::PollRequest) -> v1::PollRequest {
    v1::PollRequest { wait: Some(prost_types::Duration::default()), ..request }
}

async fn poll(clients: &mut Clients, request: v1::PollRequest) -> Result<v1::PollResponse, Status> {
    Ok(clients.consumer.poll(request).await?.into_inner())
}

/// Polls until something came.
async fn some(clients: &mut Clients, mut request: v1::PollRequest) -> v1::PollResponse {
    within("events", async {
        loop {
            let answer = poll(clients, request).await.expect("an answer");
            if !answer.events.is_empty() {
                return answer;
            }
            request = behind(&answer);
        }
    })
    .await
}

fn texts(answer: &v1::PollResponse) -> Vec<String> {
    let of = |event: &v1::PolledEvent| text(event.event.as_ref().expect("an event").event.as_ref().expect("an event"));
    answer.events.iter().map(of).collect()
}

fn outcome(event: &v1::PolledEvent, outcome: Outcome) -> v1::EventOutcome {
    let stored = event.event.as_ref().expect("an event");
    v1::EventOutcome {
        partition: stored.partition,
        log_epoch: stored.log_epoch,
        lease_epoch: event.lease_epoch,
        offset: Some(stored.offset),
        last_offset: None,
        outcome: Some(outcome),
    }
}

async fn settle(clients: &mut Clients, session: &str, outcomes: Vec<v1::EventOutcome>) -> Result<Vec<String>, Status> {
    let request = v1::AcknowledgeRequest { session_id: session.into(), outcomes, ..Default::default() };
    let answer = clients.consumer.acknowledge(request).await?.into_inner();
    Ok(answer.failures.into_iter().map(|failure| failure.error.expect("an error").reason).collect())
}

async fn leave(clients: &mut Clients, session: &str) {
    let request = v1::AcknowledgeRequest { session_id: session.into(), leave: true, ..Default::default() };
    clients.consumer.acknowledge(request).await.expect("left");
}

async fn until_done(clients: &mut Clients) {
    within("a group without lag", async {
        // poll
        while {
            let lag = clients.lag("workers").await;
            lag.lag_events + lag.retry_events > 0
        } {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_group_is_consumed_by_polls_and_acknowledged_in_order() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let one = some(&mut clients, first(2)).await;
    assert_eq!((texts(&one), one.shared, one.member_name.as_str()), (vec!["a".to_owned(), "b".into()], false, "one"));
    let two = some(&mut clients, behind(&one)).await;
    assert_eq!(texts(&two), ["c"]);
    let session = one.session_id.clone();
    let early = vec![outcome(&two.events[0], ack())];
    assert_eq!(settle(&mut clients, &session, early).await.expect("answered"), ["OUTCOME_OUT_OF_ORDER"]);
    let all = one.events.iter().chain(&two.events).map(|event| outcome(event, ack())).collect();
    assert!(settle(&mut clients, &session, all).await.expect("answered").is_empty());
    until_done(&mut clients).await;
    // A failure in order comes again where it stands.
    clients.publish("orders", 0, &["d"]).await;
    let three = some(&mut clients, behind(&two)).await;
    assert!(
        settle(&mut clients, &session, vec![outcome(&three.events[0], nack("busy"))]).await.expect("ok").is_empty()
    );
    let again = some(&mut clients, behind(&three)).await;
    assert_eq!(
        (texts(&again)[0].as_str(), again.events[0].attempt, again.events[0].last_reason.as_str()),
        ("d", 2, "busy")
    );
    // Progress counts as well as an acknowledgement.
    let event = again.events[0].event.as_ref().expect("an event");
    let commits = vec![v1::PartitionCommit {
        partition: 0,
        log_epoch: event.log_epoch,
        lease_epoch: again.events[0].lease_epoch,
        next_offset: Some(event.offset + 1),
    }];
    let request = v1::AcknowledgeRequest { session_id: session.clone(), commits, ..Default::default() };
    let answer = clients.consumer.acknowledge(request).await.expect("answered").into_inner();
    assert_eq!(answer.results[0].committed_offset, Some(4));
    until_done(&mut clients).await;
    leave(&mut clients, &session).await;
    let members = v1::ListMembersRequest { name: "workers".into() };
    let members = clients.groups.list_members(members).await.expect("members").into_inner().members;
    assert!(members.is_empty(), "a leave is over when it is answered");
    assert_eq!(reason(&poll(&mut clients, behind(&again)).await.expect_err("gone")), "SESSION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_group_is_consumed_by_polls_and_each_event_is_settled_by_itself() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Shared, &[]).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let answer = some(&mut clients, first(10)).await;
    assert_eq!((texts(&answer).len(), answer.shared), (3, true));
    let session = answer.session_id.clone();
    let outcomes = vec![
        outcome(&answer.events[2], ack()),
        outcome(&answer.events[1], nack("busy")),
        outcome(&answer.events[0], ack()),
    ];
    assert!(settle(&mut clients, &session, outcomes).await.expect("answered").is_empty());
    let again = some(&mut clients, behind(&answer)).await;
    assert_eq!((texts(&again), again.events[0].attempt), (vec!["b".to_owned()], 2));
    let twice = vec![outcome(&again.events[0], ack()), outcome(&answer.events[0], ack())];
    assert_eq!(settle(&mut clients, &session, twice).await.expect("answered"), ["EVENT_NOT_IN_FLIGHT"]);
    until_done(&mut clients).await;
    leave(&mut clients, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_comes_again_for_its_cursor() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    clients.publish("orders", 0, &["a"]).await;
    let one = some(&mut clients, first(1)).await;
    clients.publish("orders", 0, &["b"]).await;
    let two = some(&mut clients, behind(&one)).await;
    let again = poll(&mut clients, behind(&one)).await.expect("the same again");
    assert_eq!((texts(&again), &again.cursor), (vec!["b".to_owned()], &two.cursor));
    let three = poll(&mut clients, at_once(behind(&two))).await.expect("an answer");
    assert!(three.events.is_empty());
    let old = poll(&mut clients, behind(&one)).await.expect_err("too old");
    assert_eq!(reason(&old), "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_for_what_is_published_meanwhile() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    let one = poll(&mut clients, at_once(first(10))).await.expect("an answer");
    assert!(one.events.is_empty());
    let mut publisher = clients.clone();
    let waiting = poll(&mut clients, behind(&one));
    let (answer, _) = tokio::join!(waiting, publisher.publish("orders", 0, &["late"]));
    let answer = answer.expect("an answer");
    let answer = if answer.events.is_empty() { some(&mut publisher, behind(&answer)).await } else { answer };
    assert_eq!(texts(&answer), ["late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_which_nobody_asks_anything_ends_and_its_events_go_to_others() {
    let times = [("delivery.heartbeat_ms", "250"), ("delivery.silence_limit_ms", "1000")];
    let (_ground, _app, mut clients) = stage(DeliveryMode::Shared, &times).await;
    clients.publish("orders", 0, &["a"]).await;
    let one = some(&mut clients, first(10)).await;
    assert_eq!(one.idle_timeout.expect("said").seconds, 2);
    // Another member gets it, as a failed attempt of the first.
    let mut next = Member::join(&clients, "workers", "two").await.expect("joined");
    let event = next.some_events(1).await.remove(0);
    assert_eq!((event.text.as_str(), event.attempt), ("a", 2));
    assert_eq!(reason(&poll(&mut clients, behind(&one)).await.expect_err("gone")), "SESSION_NOT_FOUND");
    let late = settle(&mut clients, &one.session_id, vec![outcome(&one.events[0], ack())]).await.expect_err("gone");
    assert_eq!(reason(&late), "SESSION_NOT_FOUND");
    assert_eq!(next.settle_one(&event, ack()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_polled_session_and_gives_its_partitions_back() {
    let _turn = turn().await;
    // Only the revocation ends it in time: nobody polls, and a session may be idle for minutes.
    let patient = [("delivery.silence_limit_ms", "120000"), ("delivery.heartbeat_ms", "5000")];
    for mode in [DeliveryMode::Ordered, DeliveryMode::Shared] {
        let (ground, app, mut clients) = stage(mode, &patient).await;
        let doomed = ground.key("acme").await;
        let mut polling = Clients::new(&app, &doomed).await;
        clients.publish("orders", 0, &["a"]).await;
        let one = some(&mut polling, first(10)).await;
        let mut next = Member::join(&clients, "workers", "two").await.expect("joined");
        let id = ApiKey::parse(&doomed).expect("a key").id();
        let revoke = format!("update eventflow.api_key set revoked_at = clock_timestamp() where key_id = '{id}'");
        let revoked = Instant::now();
        ground.database.connect().await.batch_execute(&revoke).await.expect("revoked");
        // Another member gets what the session held.
        let event = next.some_events(1).await.remove(0);
        // bound: 5 s
        assert!(revoked.elapsed() < BOUND, "{:?}", revoked.elapsed());
        assert_eq!(event.text, "a");
        let refused = async {
            // poll: the key itself is refused within the same time.
            loop {
                match poll(&mut polling, at_once(behind(&one))).await {
                    Err(status) if status.code() == Code::Unauthenticated => return,
                    Err(status) => assert_eq!(reason(&status), "SESSION_NOT_FOUND"),
                    Ok(answer) => panic!("a withdrawn session answered {answer:?}"),
                }
            }
        };
        within("a refusal", refused).await;
        // bound: 5 s, and the call's own time
        assert!(revoked.elapsed() < BOUND + Duration::from_secs(1), "{:?}", revoked.elapsed());
        let gone = poll(&mut clients, behind(&one)).await.expect_err("another key of the organization");
        assert_eq!(reason(&gone), "SESSION_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_is_told_when_its_key_is_revoked() {
    let _turn = turn().await;
    let (ground, app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    let doomed = ground.key("acme").await;
    let mut polling = Clients::new(&app, &doomed).await;
    let one = poll(&mut polling, at_once(first(10))).await.expect("an answer");
    let id = ApiKey::parse(&doomed).expect("a key").id().to_string();
    let long = v1::PollRequest { wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }), ..behind(&one) };
    let waiting = poll(&mut polling, long);
    let request = v1::RevokeApiKeyRequest { id, ..Default::default() };
    let (answer, revoked) = tokio::join!(waiting, clients.keys.revoke_api_key(request));
    revoked.expect("revoked");
    assert_eq!(answer.expect_err("withdrawn").code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_session_counts_as_an_open_stream_as_long_as_it_lives() {
    let quota = [("limits.organization_open_streams", "2")];
    let (_ground, _app, mut clients) = stage(DeliveryMode::Shared, &quota).await;
    let named = |name: &str| at_once(v1::PollRequest { member_name: name.into(), ..first(10) });
    let one = poll(&mut clients, named("one")).await.expect("the first");
    let two = poll(&mut clients, named("two")).await.expect("the second");
    let status = poll(&mut clients, named("three")).await.expect_err("the third");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    let read = v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    let status = clients.log.read(read).await.expect_err("a stream as well");
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    poll(&mut clients, at_once(behind(&one))).await.expect("those that are open go on");
    leave(&mut clients, &two.session_id).await;
    let room = async {
        // poll: whoever watches the session hears of its end a moment later.
        loop {
            match poll(&mut clients, named("three")).await {
                Ok(answer) => return answer,
                Err(status) => assert_eq!(reason(&status), "QUOTA_EXCEEDED"),
            }
        }
    };
    let three = within("room again", room).await;
    // A poll that failed to join holds nothing.
    leave(&mut clients, &three.session_id).await;
    let absent = v1::PollRequest { group: "absent".into(), ..named("four") };
    for _ in 0..5 {
        let failed = async {
            // poll: as above
            loop {
                let status = poll(&mut clients, absent.clone()).await.expect_err("no such group");
                if reason(&status) == "CONSUMER_GROUP_NOT_FOUND" {
                    return;
                }
                assert_eq!(reason(&status), "QUOTA_EXCEEDED");
            }
        };
        within("an answer", failed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_an_unknown_and_a_foreign_cursor_get_their_reasons() {
    let (ground, app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    clients.publish("orders", 0, &["a"]).await;
    let one = some(&mut clients, first(10)).await;
    let other = ground.broker(&[]).await;
    let mut there = Clients::new(&other, &ground.key("acme").await).await;
    assert_eq!(reason(&poll(&mut there, behind(&one)).await.expect_err("elsewhere")), "SESSION_ELSEWHERE");
    let mut foreign = Clients::new(&app, &ground.key("globex").await).await;
    assert_eq!(reason(&poll(&mut foreign, behind(&one)).await.expect_err("foreign")), "SESSION_NOT_FOUND");
    // The same name elsewhere takes the partition, and the old session hears it.
    let again = some(&mut there, first(10)).await;
    assert_eq!(texts(&again), ["a"]);
    let fenced = within("the fence", async {
        let mut request = behind(&one);
        loop {
            match poll(&mut clients, at_once(request)).await {
                Ok(answer) => request = behind(&answer),
                Err(status) => return reason(&status),
            }
        }
    });
    assert_eq!(fenced.await, "MEMBER_FENCED");
    let late = settle(&mut clients, &one.session_id, vec![outcome(&one.events[0], ack())]).await;
    assert!(
        matches!(late, Err(status) if ["SESSION_NOT_FOUND", "SESSION_ELSEWHERE"].contains(&reason(&status).as_str()))
    );
    assert!(
        settle(&mut there, &again.session_id, vec![outcome(&again.events[0], ack())]).await.expect("ok").is_empty()
    );
    until_done(&mut clients).await;
    // A session of Subscribe is read from its stream; Acknowledge takes it.
    let member = Member::join(&clients, "workers", "streaming").await.expect("joined");
    let cursor = format!("{}.0", member.session.session_id);
    let refused = poll(&mut clients, v1::PollRequest { cursor, ..Default::default() }).await.expect_err("refused");
    assert_eq!(reason(&refused), "SESSION_NOT_FOUND");
    assert!(settle(&mut clients, &member.session.session_id, Vec::new()).await.expect("taken").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_voids_what_was_polled_before() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let one = some(&mut clients, first(10)).await;
    let to = Some(v1::Position { at: Some(v1::position::At::Offset(1)) });
    let seek = v1::SeekRequest { name: "workers".into(), partition: Some(0), to, ..Default::default() };
    clients.groups.seek(seek).await.expect("moved");
    let mut request = behind(&one);
    let two = within("the move", async {
        loop {
            let answer = poll(&mut clients, request).await.expect("an answer");
            if !answer.void_partitions.is_empty() {
                return answer;
            }
            request = behind(&answer);
        }
    })
    .await;
    assert_eq!((two.void_partitions.as_slice(), texts(&two)), ([0].as_slice(), vec!["b".to_owned()]));
    let stale = settle(&mut clients, &one.session_id, vec![outcome(&one.events[1], ack())]).await.expect("answered");
    assert_eq!(stale, ["SEEK_FENCED"]);
    assert!(settle(&mut clients, &one.session_id, vec![outcome(&two.events[0], ack())]).await.expect("ok").is_empty());
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_whose_caller_went_away_loses_no_notice() {
    let (_ground, _app, mut clients) = stage(DeliveryMode::Ordered, &[]).await;
    clients.publish("orders", 0, &["a"]).await;
    let one = some(&mut clients, first(10)).await;
    assert!(settle(&mut clients, &one.session_id, vec![outcome(&one.events[0], ack())]).await.expect("ok").is_empty());
    let mut asking = clients.clone();
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let poll = asking.consumer.poll(v1::PollRequest { wait, ..behind(&one) });
    let mut moving = clients.clone();
    let seek = async {
        let to = Some(v1::Position { at: Some(v1::position::At::Latest(true)) });
        let seek = v1::SeekRequest { name: "workers".into(), to, ..Default::default() };
        moving.groups.seek(seek).await.expect("moved");
        // The poll waits for events, and has the notice by then; it gets no answer.
        std::future::pending::<()>().await;
    };
    let both = async { tokio::join!(poll, seek) };
    assert!(tokio::time::timeout(Duration::from_secs(2), both).await.is_err(), "there are no events");
    let next = poll_once(&mut clients, behind(&one)).await;
    assert_eq!(next.void_partitions, [0], "the next poll says it");
}

async fn poll_once(clients: &mut Clients, request: v1::PollRequest) -> v1::PollResponse {
    let wait = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    poll(clients, v1::PollRequest { wait, ..request }).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_polls_settles_and_goes_on_elsewhere_by_its_cursor() {
    let (ground, app, mut clients) = stage(DeliveryMode::Shared, &[]).await;
    clients.publish("orders", 0, &["a", "b", "c", "d"]).await;
    let options = eventflow::ClientOptions::new(&format!("eventflow://{}?tls=off", app.grpc_address())).expect("a url");
    let connect = || async { eventflow::Client::connect_with(options.clone().api_key(ground.key("acme").await)).await };
    let client = connect().await.expect("connected");
    let mut poller = client.poll("workers").max_events(3).wait(Duration::from_secs(1)).join().await.expect("joined");
    let mut events = Vec::new();
    while events.len() < 4 {
        events.extend(poller.next().await.expect("an answer").events);
    }
    let texts: Vec<&[u8]> = events.iter().map(|event| &event.payload()[..]).collect();
    assert_eq!(texts, [b"a", b"b", b"c", b"d"]);
    let failure = eventflow::Failure::retry("busy").class("test").after(Duration::ZERO);
    let said = [events[0].ack(), events[1].fail(failure), events[2].extend(Duration::from_secs(60))];
    assert!(poller.settle(said).await.expect("settled").is_empty());
    let refused = poller.settle([events[0].ack(), events[2].ack()]).await.expect("answered");
    let reasons: Vec<_> = refused.iter().map(|refused| (refused.offset, refused.error.reason())).collect();
    assert_eq!(reasons, [(0, "EVENT_NOT_IN_FLIGHT")]);

    // Another process, which knows the cursor and the session.
    let (cursor, session) = (poller.cursor().to_owned(), poller.session().to_owned());
    let other = connect().await.expect("connected");
    let mut resumed = other.resume_poll(cursor, Duration::from_secs(1)).await.expect("resumed");
    assert_eq!((resumed.session(), resumed.member()), (session.as_str(), poller.member()));
    let mut again = Vec::new();
    while again.is_empty() {
        again.extend(resumed.next().await.expect("an answer").events);
    }
    assert_eq!((again[0].attempt, again[0].last_reason.as_str(), again[0].last_class.as_str()), (2, "busy", "test"));
    let handle: eventflow::polling::Handle = events[3].handle().to_string().parse().expect("a handle");
    let both = [again[0].ack(), (handle, eventflow::polling::Outcome::Ack)];
    assert!(other.acknowledge(session.clone(), both).await.expect("settled").is_empty());
    until_done(&mut clients).await;
    let end = resumed.cursor().to_owned();
    resumed.leave().await.expect("left");
    let over = client.resume_poll(end, Duration::ZERO).await.expect_err("the session is over");
    assert_eq!(over.reason(), "SESSION_NOT_FOUND");
    assert_eq!(other.leave_poll(session).await.expect_err("over").reason(), "SESSION_NOT_FOUND");
    let missing = client.poll("nobody").join().await.expect_err("no such group");
    assert_eq!(missing.reason(), "CONSUMER_GROUP_NOT_FOUND");
}
