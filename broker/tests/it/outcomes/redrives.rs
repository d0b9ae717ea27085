//! How far redrives are, how they are cancelled, and the traces of attempts.

use super::letters::{client, kill};
use super::{dead_letters, retry_rows, shared, stage, until_done};
use crate::support::event;
use crate::support::member::{Member, ack, nack};
use eventflow::dead_letters::{DeadLetter, DeadLetters, Redrive, Which};
use eventflow_proto::v1::{self, event_outcome::Outcome};
use futures_util::TryStreamExt;
use std::time::Duration;

async fn all(letters: &DeadLetters) -> Vec<DeadLetter> {
    letters.list(Which::default()).try_collect().await.expect("a list")
}

async fn look(letters: &DeadLetters, id: &str) -> Redrive {
    let redrives = letters.redrives().await.expect("a list");
    redrives.into_iter().find(|redrive| redrive.id == id).expect("a redrive")
}

fn counts(redrive: &Redrive) -> [i64; 5] {
    [redrive.waiting, redrive.retrying, redrive.dead_letters, redrive.cancelled, redrive.done]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_of_a_redrive_goes_back_and_what_members_have_goes_on() {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let texts: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
    clients.publish("orders", 0, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    kill(&mut member, 100).await;
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let before = all(&letters).await;

    // One a second: most of it waits until it is cancelled, however slow this test is.
    let redriven = letters.redrive(Which::default(), 1).await.expect("redriven");
    let id = redriven.redrive_id.expect("a redrive");
    assert_eq!(redriven.dead_letters, 100);
    let first = member.events().await.remove(0);
    let under_way = look(&letters, &id).await;
    assert_eq!((under_way.events, under_way.actor.starts_with("key:")), (100, true));
    assert!(under_way.waiting > 0 && under_way.retrying > 0 && under_way.cancel_time.is_none(), "{under_way:?}");
    let cancelled = letters.cancel_redrive(&id).await.expect("cancelled");
    assert_eq!((cancelled.waiting, cancelled.done, cancelled.dead_letters), (0, 0, 0), "{cancelled:?}");
    assert!(cancelled.cancelled > 0 && cancelled.cancel_time.is_some());
    assert_eq!(cancelled.cancelled + cancelled.retrying, 100);

    // They are what they were, but for their ids.
    let after = all(&letters).await;
    assert_eq!(after.len() as i64, cancelled.cancelled);
    for letter in &after {
        let was = before.iter().find(|was| was.record.offset() == letter.record.offset()).expect("it was dead");
        assert_eq!((letter.attempts, &letter.reason), (2, &was.reason));
        let late = letter.dead_time.duration_since(was.dead_time).unwrap_or_default();
        assert!(letter.dead_time <= was.dead_time, "given up when it was, not {late:?} later");
        assert_eq!(letters.get(&letter.id).await.expect("there").history.len(), 2);
    }
    // What the member has goes on, and a second time there is nothing to cancel.
    assert_eq!(member.settle_one(&first, ack()).await, None);
    let mut left = cancelled.retrying - 1;
    while left > 0 {
        for event in member.events().await {
            assert_eq!(member.settle_one(&event, ack()).await, None);
            left -= 1;
        }
    }
    until_done(&mut clients).await;
    let again = letters.cancel_redrive(&id).await.expect("nothing left");
    assert_eq!(counts(&again), [0, 0, 0, cancelled.cancelled, cancelled.retrying]);
    assert_eq!(again.cancel_time, cancelled.cancel_time);
    assert_eq!(retry_rows(&ground).await, 0);
    let unknown = letters.cancel_redrive(uuid::Uuid::new_v4().to_string()).await.expect_err("unknown");
    assert_eq!(unknown.reason(), "REDRIVE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_again_stays_counted_when_it_is_discarded_or_redriven_once_more() {
    let (ground, app, mut clients) = stage(2, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["t1", "t2"]).await;
    clients.publish("orders", 1, &["v1"]).await;
    kill(&mut member, 3).await;
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let nothing = letters.redrive(Which::default().error_class("other"), 0).await.expect("nothing");
    assert_eq!((nothing.dead_letters, nothing.redrive_id), (0, None));
    let preview = letters.preview_redrive(Which::default()).await.expect("counted");
    assert_eq!((preview.dead_letters, preview.redrive_id), (3, None));
    assert!(letters.redrives().await.expect("a list").is_empty());

    let first = letters.redrive(Which::default(), 0).await.expect("redriven").redrive_id.expect("a redrive");
    kill(&mut member, 3).await;
    assert_eq!(counts(&look(&letters, &first).await), [0, 0, 3, 0, 0]);
    letters.discard(Which::default().reason_contains("not valid")).await.expect("discarded");
    let second = letters.redrive(Which::default(), 0).await.expect("redriven").redrive_id.expect("a redrive");
    assert_eq!(counts(&look(&letters, &first).await), [0, 0, 3, 0, 0]);
    let mut left = 2;
    while left > 0 {
        for event in member.events().await {
            assert_eq!(member.settle_one(&event, ack()).await, None);
            left -= 1;
        }
    }
    until_done(&mut clients).await;
    assert_eq!(counts(&look(&letters, &second).await), [0, 0, 0, 0, 2]);
    let ids: Vec<String> = letters.redrives().await.expect("a list").into_iter().map(|redrive| redrive.id).collect();
    assert_eq!(ids, [second, first], "the newest first");
    assert!(dead_letters(&ground).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_of_redrives_do_not_add_up() {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["t1", "t2", "t3", "v1", "v2"]).await;
    kill(&mut member, 5).await;
    member.leave().await;
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let timeouts = letters.redrive(Which::default().reason_contains("timed out"), 1).await.expect("redriven");
    let others = letters.redrive(Which::default(), 1).await.expect("redriven");
    let first = look(&letters, &timeouts.redrive_id.expect("a redrive")).await;
    let second = look(&letters, &others.redrive_id.expect("a redrive")).await;
    assert_eq!((first.events, second.events), (3, 2));
    let behind = second.last_due_time.duration_since(first.last_due_time).expect("later");
    assert!(behind >= Duration::from_secs(2), "{behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_name_the_trace_that_the_member_names_or_that_of_the_publish() {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let mut request = tonic::Request::new(v1::PublishRequest {
        stream: "orders".into(),
        events: vec![event("traced")],
        partition: Some(0),
        ..Default::default()
    });
    let (published, handled) = ("0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736");
    let parent = format!("00-{published}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", parent.parse().expect("ascii"));
    clients.publisher.publish(request).await.expect("published");
    let first = member.events().await.remove(0);
    assert_eq!(member.settle_one(&first, nack("timed out")).await, None);
    let second = member.events().await.remove(0);
    let traced = v1::Nack { reason: "timed out".into(), trace_id: handled.into(), ..Default::default() };
    assert_eq!(member.settle_one(&second, Outcome::Nack(traced)).await, None);
    let client = client(&ground, &app).await;
    let letters = client.dead_letters("workers");
    let letter = letters.get(&all(&letters).await[0].id).await.expect("there");
    let traces: Vec<&str> = letter.history.iter().map(|attempt| attempt.trace_id.as_str()).collect();
    assert_eq!(traces, [published, handled]);
}
