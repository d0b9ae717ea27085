//! Processing rules: what they do, in which order, and what becomes of it when things go wrong.

mod actions;
mod administration;
mod crashes;
mod failures;

use crate::support::{Clients, Ground, event};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, rule::Action};
use eventflow_testkit::within;
use tonic::Status;

/// A broker, and the streams `orders` and `copies` of `acme`.
pub async fn spine(partitions: u32) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", partitions).await;
    clients.create_stream("copies", partitions).await;
    (ground, app, clients)
}

pub fn route(stream: &str) -> Action {
    Action::Route(v1::RuleRoute { stream: stream.into() })
}

pub fn redact(fields: &[&str]) -> Action {
    Action::Redact(v1::RuleRedact { fields: fields.iter().map(|field| (*field).into()).collect() })
}

/// A rule of `orders`.
pub fn rule(name: &str, filter: &str, action: Action) -> v1::Rule {
    v1::Rule {
        stream: "orders".into(),
        name: name.into(),
        filter: filter.into(),
        action: Some(action),
        ..Default::default()
    }
}

pub async fn try_create(clients: &mut Clients, rule: v1::Rule) -> Result<v1::Rule, Status> {
    let request = v1::CreateRuleRequest { rule: Some(rule), ..Default::default() };
    Ok(clients.rules.create_rule(request).await?.into_inner().rule.expect("a rule"))
}

pub async fn create(clients: &mut Clients, rule: v1::Rule) -> v1::Rule {
    try_create(clients, rule).await.expect("made")
}

pub async fn update(clients: &mut Clients, rule: v1::Rule, paths: &[&str]) -> v1::Rule {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() });
    let request = v1::UpdateRuleRequest { rule: Some(rule), update_mask, ..Default::default() };
    clients.rules.update_rule(request).await.expect("changed").into_inner().rule.expect("a rule")
}

pub async fn status(clients: &mut Clients) -> v1::GetRuleStatusResponse {
    let request = v1::GetRuleStatusRequest { stream: "orders".into() };
    clients.rules.get_rule_status(request).await.expect("a status").into_inner()
}

/// Until the rules of `orders` are done with everything, and nothing waits for another attempt.
pub async fn settled(clients: &mut Clients) -> v1::GetRuleStatusResponse {
    let look = async {
        loop {
            // poll
            let status = status(clients).await;
            if status.brokers > 0 && status.lag_events == 0 && status.retries == 0 {
                return status;
            }
        }
    };
    within("the rules to be done", look).await
}

/// Until the counts of a rule are as wanted: brokers write them every second.
pub async fn counted(clients: &mut Clients, name: &str, wanted: impl Fn(&v1::RuleStatus) -> bool) -> v1::RuleStatus {
    let look = async {
        loop {
            // poll
            let found = status(clients).await.rules.into_iter().find(|rule| rule.name == name).expect("the rule");
            if wanted(&found) {
                return found;
            }
        }
    };
    within("the counts of a rule", look).await
}

/// Until the rules as they are now are those that are asked: a change is heard within a second. The probe is the first rule from
/// now on, and drops what it counts.
pub async fn in_effect(clients: &mut Clients) {
    let probe = rule("probe", "type == \"probe\"", Action::Drop(v1::RuleDrop {}));
    create(clients, v1::Rule { position: 1, ..probe }).await;
    let look = async {
        loop {
            // poll
            publish(clients, vec![v1::Event { r#type: "probe".into(), ..event("{}") }]).await;
            if status(clients).await.rules[0].matched_events > 0 {
                return;
            }
        }
    };
    within("the rules to be in effect", look).await;
}

pub async fn publish(clients: &mut Clients, events: Vec<v1::Event>) {
    let request = v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
    let results = clients.publisher.publish(request).await.expect("answered").into_inner().results;
    results.iter().for_each(|result| drop(crate::support::appended(result)));
}

/// Publishes JSON texts under keys.
pub async fn publish_json(clients: &mut Clients, texts: &[(&str, &str)]) {
    let events = texts.iter().map(|(key, text)| v1::Event { key: Some((*key).into()), ..event(text) });
    publish(clients, events.collect()).await;
}

/// Everything that is in a stream now, but for probes.
pub async fn stored(clients: &mut Clients, stream: &str) -> Vec<v1::Event> {
    let request =
        v1::ReadRequest { stream: stream.into(), payload_view: v1::PayloadView::Text.into(), ..Default::default() };
    let mut frames = clients.log.read(request).await.expect("a read").into_inner();
    let mut found = Vec::new();
    while let Some(frame) = within("a frame", frames.message()).await.expect("a frame") {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
            found.extend(batch.head.events.into_iter().filter(|event| event.r#type != "probe"));
        }
    }
    found
}

/// Until so many events are in a stream, and what they are.
pub async fn arrived(clients: &mut Clients, stream: &str, count: usize) -> Vec<v1::Event> {
    let look = async {
        loop {
            // poll
            let found = stored(clients, stream).await;
            if found.len() >= count {
                return found;
            }
        }
    };
    within("copies", look).await
}

pub fn header<'a>(event: &'a v1::Event, name: &str) -> Option<&'a str> {
    event.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
}

/// Makes failed events come again soon, and not often: a group's settings hold from the next session on.
pub async fn impatient(clients: &mut Clients, on_failure: v1::OnFailure) {
    let soon = |ms: i32| Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
    let policy =
        v1::RetryPolicy { initial_backoff: soon(10), max_backoff: soon(40), max_attempts: Some(4), multiplier: None };
    let group = v1::ConsumerGroup {
        name: "rules.orders".into(),
        retry_policy: Some(policy),
        on_failure: on_failure.into(),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["retry_policy".into(), "on_failure".into()] });
    let request = v1::UpdateConsumerGroupRequest { group: Some(group), update_mask, ..Default::default() };
    clients.groups.update_consumer_group(request).await.expect("changed");
}

/// The dead letters of the rules of `orders`.
pub async fn dead_letters(clients: &mut Clients, count: usize) -> Vec<v1::DeadLetterEvent> {
    let look = async {
        loop {
            // poll
            let request = v1::ListDeadLettersRequest { group: "rules.orders".into(), ..Default::default() };
            let found = clients.dead_letters.list_dead_letters(request).await.expect("a list").into_inner();
            if found.dead_letters.len() >= count {
                return found.dead_letters;
            }
        }
    };
    within("dead letters", look).await
}
