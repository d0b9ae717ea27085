//! Dead letters as people handle them: listed, looked at, given back, discarded.

use super::{dead_letters, retry_rows, shared, stage, until_done};
use crate::support::member::{Member, ack, nack};
use crate::support::reason;
use eventflow::dead_letters::Which;
use eventflow::{Client, ClientOptions};
use eventflow_proto::v1;
use eventflow_testkit::within;

pub async fn client(ground: &crate::support::Ground, app: &eventflow_broker::runtime::app::App) -> Client {
    let options = ClientOptions::new(&format!("eventflow://{}?tls=off", app.grpc_address())).expect("a url");
    Client::connect_with(options.api_key(ground.key("acme").await)).await.expect("connected")
}

/// Fails what comes until so many events are dead letters.
pub async fn kill(member: &mut Member, count: usize) {
    let mut dead = 0;
    while dead < count {
        for event in member.events().await {
            let why = if event.text.starts_with('t') { "timed out" } else { "is not valid" };
            assert_eq!(member.settle_one(&event, nack(why)).await, None);
            dead += usize::from(event.attempt == 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_by_page_and_filter_and_shown_with_their_history() {
    let (ground, app, mut clients) = stage(2, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["t1", "v1", "t2"]).await;
    clients.publish("orders", 1, &["t3", "v2"]).await;
    kill(&mut member, 5).await;
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let all: Vec<_> = futures_util::TryStreamExt::try_collect(letters.list(Which::default())).await.expect("a list");
    assert_eq!(all.len(), 5);
    assert!(all.windows(2).all(|pair| pair[0].dead_time >= pair[1].dead_time), "the newest first");
    assert!(all.iter().all(|letter| letter.record.payload().is_empty() && letter.history.is_empty()));
    let which = Which::default().reason_contains("timed").error_class("test");
    let some: Vec<_> = futures_util::TryStreamExt::try_collect(letters.list(which)).await.expect("a list");
    assert_eq!(some.len(), 3);
    let one = letters.get(&some[0].id).await.expect("there");
    let text = String::from_utf8_lossy(one.record.payload()).into_owned();
    assert!(text.starts_with('t'), "{text}");
    let history: Vec<_> = one.history.iter().map(|failed| (failed.attempt, failed.member.as_str())).collect();
    assert_eq!((history, one.attempts, one.reason.as_str()), (vec![(1, "one"), (2, "one")], 2, "timed out"));

    let mut raw = clients.dead_letters.clone();
    let page = |page_token: String| v1::ListDeadLettersRequest {
        group: "workers".into(),
        page_size: 2,
        page_token,
        ..Default::default()
    };
    let first = raw.list_dead_letters(page(String::new())).await.expect("a page").into_inner();
    let second = raw.list_dead_letters(page(first.next_page_token.clone())).await.expect("a page").into_inner();
    let ids = |page: &v1::ListDeadLettersResponse| -> Vec<String> {
        page.dead_letters.iter().map(|letter| letter.dead_letter_id.clone()).collect()
    };
    let expected: Vec<String> = all[..4].iter().map(|letter| letter.id.clone()).collect();
    assert_eq!([ids(&first), ids(&second)].concat(), expected);
    let filter = Some(v1::DeadLetterFilter { error_class: "other".into(), ..Default::default() });
    let elsewhere = v1::ListDeadLettersRequest { filter, ..page(first.next_page_token) };
    assert_eq!(reason(&raw.list_dead_letters(elsewhere).await.expect_err("another list")), "INVALID_PAGE_TOKEN");
    let unknown = letters.get(uuid::Uuid::new_v4().to_string()).await.expect_err("unknown");
    assert_eq!(unknown.reason(), "DEAD_LETTER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn redriven_events_come_again_with_all_their_attempts_and_their_identity() {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["t1", "v1", "t2"]).await;
    kill(&mut member, 3).await;
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let timeouts = || Which::default().reason_contains("timed out");
    assert_eq!(letters.preview_redrive(timeouts()).await.expect("counted").dead_letters, 2);
    assert_eq!(dead_letters(&ground).await.len(), 3, "a preview changes nothing");
    let done = letters.redrive(timeouts(), 1_000).await.expect("redriven");
    assert_eq!((done.dead_letters, done.more), (2, false));
    let mut again = Vec::new();
    within("the redriven events", async {
        while again.len() < 2 {
            let frame = member.next().await.expect("a frame");
            if let v1::subscribe_response::Frame::Redeliveries(redeliveries) = frame {
                again.extend(redeliveries.events);
            }
        }
    })
    .await;
    for event in &again {
        assert!(event.redriven && event.attempt == 1 && event.last_reason == "timed out", "{event:?}");
        let stored = event.event.as_ref().expect("an event");
        let outcome = |outcome| v1::EventOutcome {
            lease_epoch: event.lease_epoch,
            offset: Some(stored.offset),
            outcome: Some(outcome),
            ..Default::default()
        };
        assert!(member.settle(vec![outcome(ack())]).await.is_empty());
    }
    let lag = until_done(&mut clients).await;
    assert_eq!((lag.dead_letter_events, retry_rows(&ground).await), (1, 0));
    let discarded = letters.discard(Which::default()).await.expect("discarded");
    assert_eq!((discarded.dead_letters, dead_letters(&ground).await.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_sees_no_dead_letters() {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["t1"]).await;
    kill(&mut member, 1).await;
    let mut foreign = crate::support::Clients::new(&app, &ground.key("globex").await).await;
    let discard = v1::DiscardDeadLettersRequest { group: "workers".into(), ..Default::default() };
    let refused = foreign.dead_letters.discard_dead_letters(discard).await.expect_err("not theirs");
    assert_eq!(reason(&refused), "CONSUMER_GROUP_NOT_FOUND");
    assert_eq!(dead_letters(&ground).await.len(), 1);
}
