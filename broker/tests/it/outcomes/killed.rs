//! A broker that is killed at a step of a nack, a retry, a dead letter: never two, never none.

use super::{dead_letters, ordered, retry_rows, shared, until_done};
use crate::support::member::{Event, Member, ack, nack};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground};
use eventflow_proto::v1;
use eventflow_proto::v1::OnFailure;
use eventflow_proto::v1::commit_request::Frame as Ask;
use eventflow_testkit::{Action, Match, PgProxy, Step, Upstream, within};

const STEPS: [Step; 5] =
    [Step::BeforeForward, Step::BeforeSync, Step::AfterForward, Step::BeforeReply, Step::AfterReply];

/// Kills the broker while it writes the outcome of `text` in `function`; a member at another broker then finishes the work, and
/// fails `poison` for ever. Answers how often it saw the poison.
async fn killed_while_writing(group: v1::ConsumerGroup, function: &str, step: Step) -> Vec<u32> {
    let attempts = group.retry_policy.and_then(|policy| policy.max_attempts).expect("a policy");
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group_with(group).await;
    clients.publish("orders", 0, &["poison", "good"]).await;

    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let mut doomed = BrokerProcess::start(&ground.database.through(proxy.address()).url(), &[]).await;
    let there = Clients::at(&doomed.url(), &key).await;
    let mut lost = Member::join(&there, "workers", "lost").await.expect("joined");
    let event = lost.some_events(1).await.remove(0);
    let rule = proxy.on(Match::sql_contains(function), step, Action::Hold);
    lost.send(ask(&event)).await.expect("sent");
    rule.fired().await;
    doomed.kill().await;
    proxy.cut_all();

    let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
    let seen = finish(&mut member, &ground, attempts).await;
    let lag = until_done(&mut clients).await;
    assert_eq!((lag.dead_letter_events, lag.partitions[0].next_offset), (1, 2), "{step:?}");
    assert_eq!(retry_rows(&ground).await, 0);
    let dead = dead_letters(&ground).await;
    assert_eq!(dead.len(), 1, "never two, never none");
    assert_eq!(
        (dead[0].0, dead[0].1, dead[0].3),
        (0, attempts.cast_signed(), attempts.cast_signed()),
        "counted exactly"
    );
    seen
}

fn ask(event: &Event) -> Ask {
    Ask::Outcomes(v1::CommitOutcomes { outcomes: vec![event.outcome(nack("killed"))] })
}

async fn finish(member: &mut Member, ground: &Ground, attempts: u32) -> Vec<u32> {
    let mut seen = Vec::new();
    let mut good = false;
    within("the work to end", async {
        // poll
        while dead_letters(ground).await.is_empty() || !good {
            let Ok(events) = tokio::time::timeout(std::time::Duration::from_millis(300), member.events()).await else {
                continue;
            };
            for event in events {
                if event.text == "poison" {
                    seen.push(event.attempt);
                    assert_eq!(member.settle_one(&event, nack("next")).await, None);
                } else {
                    // In an ordered group what stands behind a failure comes again, and is out of order until then.
                    good |= member.settle_one(&event, ack()).await.is_none();
                }
            }
        }
    })
    .await;
    assert_eq!(seen.last(), Some(&attempts), "{seen:?}");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_nack_in_a_shared_group() {
    for step in STEPS {
        let seen = Box::pin(killed_while_writing(shared(3), "settle_v1", step)).await;
        // Either the nack counted, or it was never made.
        assert!(seen == [2, 3] || seen == [1, 2, 3], "{step:?}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_dead_letter_in_a_shared_group() {
    for step in [Step::BeforeSync, Step::AfterForward, Step::BeforeReply] {
        let ground = Ground::new().await;
        let app = ground.broker(&[]).await;
        let key = ground.key("acme").await;
        let mut clients = Clients::new(&app, &key).await;
        clients.create_stream("orders", 1).await;
        clients.create_group_with(shared(1)).await;
        clients.publish("orders", 0, &["poison"]).await;
        let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
        let mut doomed = BrokerProcess::start(&ground.database.through(proxy.address()).url(), &[]).await;
        let there = Clients::at(&doomed.url(), &key).await;
        let mut lost = Member::join(&there, "workers", "lost").await.expect("joined");
        let event = lost.some_events(1).await.remove(0);
        let rule = proxy.on(Match::sql_contains("settle_v1"), step, Action::Hold);
        lost.send(ask(&event)).await.expect("sent");
        rule.fired().await;
        doomed.kill().await;
        proxy.cut_all();
        let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
        within("one dead letter", async {
            // poll
            while dead_letters(&ground).await.is_empty() {
                let again = tokio::time::timeout(std::time::Duration::from_millis(300), member.events()).await;
                for event in again.unwrap_or_default() {
                    assert_eq!(event.attempt, 1, "nothing was counted by halves");
                    assert_eq!(member.settle_one(&event, nack("next")).await, None);
                }
            }
        })
        .await;
        let lag = until_done(&mut clients).await;
        assert_eq!((lag.dead_letter_events, retry_rows(&ground).await), (1, 0), "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_of_a_failure_in_an_ordered_group() {
    for step in [Step::BeforeForward, Step::BeforeSync, Step::BeforeReply] {
        let seen = Box::pin(killed_while_writing(ordered(OnFailure::Block, 3), "fail_v1", step)).await;
        assert!(seen == [2, 3] || seen == [1, 2, 3], "{step:?}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_retry_is_taken() {
    for step in STEPS {
        let ground = Ground::new().await;
        let key = ground.key("acme").await;
        let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
        let mut doomed = BrokerProcess::start(&ground.database.through(proxy.address()).url(), &[]).await;
        let mut there = Clients::at(&doomed.url(), &key).await;
        there.create_stream("orders", 1).await;
        there.create_group_with(shared(9)).await;
        there.publish("orders", 0, &["a"]).await;
        let mut lost = Member::join(&there, "workers", "lost").await.expect("joined");
        let event = lost.some_events(1).await.remove(0);
        assert_eq!(lost.settle_one(&event, nack("once")).await, None);
        let rule = proxy.on(Match::sql_contains("take_retries_v1"), step, Action::Hold);
        rule.fired().await;
        doomed.kill().await;
        proxy.cut_all();
        let app = ground.broker(&[]).await;
        let mut clients = Clients::new(&app, &key).await;
        let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
        let again = member.events().await;
        assert_eq!((again.len(), again[0].attempt), (1, 2), "{step:?}: a broker's death does not count");
        assert_eq!(member.settle_one(&again[0], ack()).await, None);
        until_done(&mut clients).await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_whose_write_was_repeated_is_not_confirmed_when_another_has_the_event() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group_with(shared(3)).await;
    clients.publish("orders", 0, &["one", "two"]).await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let cut_off = BrokerProcess::start(&ground.database.through(proxy.address()).url(), &[]).await;
    let there = Clients::at(&cut_off.url(), &key).await;
    let mut late = Member::join(&there, "workers", "late").await.expect("joined");
    let held = late.some_events(2).await;
    let rule = proxy.on(Match::sql_contains("settle_v1"), Step::BeforeForward, Action::Hold);
    let outcomes = held.iter().map(|event| event.outcome(ack())).collect();
    late.send(Ask::Outcomes(v1::CommitOutcomes { outcomes })).await.expect("sent");
    rule.fired().await;
    // It cannot take them again itself.
    cut_off.pause();
    // As the sweep does with the claims of a broker that lost its lease.
    let sql = "update eventflow.group_claim set holder = null, broker_id = null";
    ground.database.connect().await.batch_execute(sql).await.expect("freed");
    let mut next = Member::join(&clients, "workers", "next").await.expect("joined");
    let again = next.some_events(2).await;
    proxy.cut_all();
    cut_off.resume();
    let answer = late.answer().await.expect("an answer");
    let errors: Vec<_> = answer.failures.iter().flat_map(|failure| &failure.error).collect();
    assert_eq!(errors.len(), 2, "of both: {errors:?}");
    for error in errors {
        assert_eq!(error.reason, "OUTCOME_UNKNOWN");
        assert!(error.message.contains("answer was lost"), "not for want of an answer: {}", error.message);
    }
    for event in &again {
        assert_eq!(next.settle_one(event, ack()).await, None, "the new holder's word counts");
    }
    until_done(&mut clients).await;
}
