//! Rules as objects: made, refused, tried, and the group that runs them.

use super::{create, publish_json, redact, route, rule, settled, spine, status, stored, try_create};
use crate::support::{Clients, Ground, event, reason, text};
use eventflow_proto::v1::{self, rule::Action, test_rule_request::Of};
use eventflow_testkit::within;
use tonic::Code;
use uuid::Uuid;

fn delete(name: &str) -> v1::DeleteRuleRequest {
    v1::DeleteRuleRequest { stream: "orders".into(), name: name.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_made_once_and_refused_by_name() {
    let (_ground, _app, mut clients) = spine(1).await;
    let request =
        v1::CreateRuleRequest { rule: Some(rule("copy", "", route("copies"))), request_id: Uuid::new_v4().to_string() };
    let first = clients.rules.create_rule(request.clone()).await.expect("made").into_inner();
    let again = clients.rules.create_rule(request).await.expect("made before").into_inner();
    assert_eq!(first, again);
    let status = try_create(&mut clients, rule("copy", "", route("copies"))).await.expect_err("taken");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "RULE_EXISTS"));
    let get = v1::GetRuleRequest { stream: "orders".into(), name: "none".into() };
    let status = clients.rules.get_rule(get).await.expect_err("absent");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "RULE_NOT_FOUND"));
    for (bad, field) in [
        (rule("loop", "", route("orders")), "rule.route.stream"),
        (rule("bad", "type ==", route("copies")), "rule.filter"),
        (rule("bad", "", redact(&["card.number"])), "rule.redact.fields"),
        (rule("Bad", "", route("copies")), "rule.name"),
        (rule("bad", "", Action::Headers(v1::RuleHeaders::default())), "rule.headers"),
        (
            rule(
                "bad",
                "",
                Action::Headers(v1::RuleHeaders { remove: vec!["eventflow-hops".into()], ..Default::default() }),
            ),
            "rule.headers",
        ),
    ] {
        let status = try_create(&mut clients, bad).await.expect_err("refused");
        assert_eq!(reason(&status), "INVALID_ARGUMENT");
        assert!(status.message().contains(field), "{field}: {}", status.message());
    }
    for number in 1..64 {
        create(&mut clients, rule(&format!("r{number}"), "", Action::Pass(v1::RulePass {}))).await;
    }
    let status = try_create(&mut clients, rule("one-more", "", route("copies"))).await.expect_err("full");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TOO_MANY_RULES"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_rules_is_nobodys_and_goes_with_the_last_of_them() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    create(&mut clients, rule("seen", "", Action::Pass(v1::RulePass {}))).await;
    settled(&mut clients).await;
    let list = clients.groups.list_consumer_groups(v1::ListConsumerGroupsRequest::default()).await.expect("a list");
    let group = list.into_inner().groups.remove(0);
    assert_eq!((group.name.as_str(), group.managed_by.as_str()), ("rules.orders", "rules"));
    let remove = || v1::DeleteConsumerGroupRequest { name: "rules.orders".into(), force: true, ..Default::default() };
    let status = clients.groups.delete_consumer_group(remove()).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "CONSUMER_GROUP_MANAGED"));
    let poll = v1::PollRequest { group: "rules.orders".into(), ..Default::default() };
    assert_eq!(reason(&clients.consumer.poll(poll).await.expect_err("refused")), "CONSUMER_GROUP_MANAGED");
    let subscribe = v1::SubscribeRequest { group: "rules.orders".into(), ..Default::default() };
    let refused = clients.consumer.subscribe(subscribe).await.map(drop).expect_err("refused");
    assert_eq!(reason(&refused), "CONSUMER_GROUP_MANAGED");

    clients.rules.delete_rule(delete("copy")).await.expect("gone");
    assert_eq!(status_positions(&mut clients).await, [("seen".to_owned(), 1)]);
    clients.rules.delete_rule(delete("seen")).await.expect("gone");
    let get = v1::GetConsumerGroupRequest { name: "rules.orders".into() };
    let status = clients.groups.get_consumer_group(get).await.expect_err("gone");
    assert_eq!(reason(&status), "CONSUMER_GROUP_NOT_FOUND");
    assert!(super::status(&mut clients).await.group.is_empty());
    // And comes again with the next rule, at the end of the log.
    publish_json(&mut clients, &[("a", "before")]).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    publish_json(&mut clients, &[("a", "behind")]).await;
    settled(&mut clients).await;
    let copies: Vec<String> = stored(&mut clients, "copies").await.iter().map(text).collect();
    assert_eq!(copies, ["behind"]);
}

async fn status_positions(clients: &mut Clients) -> Vec<(String, u32)> {
    let rules = clients.rules.list_rules(v1::ListRulesRequest { stream: "orders".into() }).await.expect("a list");
    rules.into_inner().rules.into_iter().map(|rule| (rule.name, rule.position)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_rules_is_deleted_with_them_when_forced() {
    let (_ground, _app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    let mut remove = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    let status = clients.streams.delete_stream(remove.clone()).await.expect_err("refused");
    assert_eq!(reason(&status), "STREAM_HAS_GROUPS");
    remove.force = true;
    clients.streams.delete_stream(remove).await.expect("gone");
    clients.create_stream("orders", 1).await;
    assert!(super::status(&mut clients).await.rules.is_empty(), "a new stream of the name has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_do_no_more_than_who_makes_it() {
    let (ground, app, mut clients) = spine(1).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    let weak: [&[&str]; 3] = [&["manage"], &["manage", "read", "publish:other"], &["manage", "read:other", "publish"]];
    for (number, scopes) in weak.into_iter().enumerate() {
        let mut weak = Clients::new(&app, &ground.key_for("acme", scopes).await).await;
        let refused = try_create(&mut weak, rule("mine", "", route("copies"))).await.expect_err("refused");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
        // Nor may what somebody else has made be bent.
        let update_mask = Some(prost_types::FieldMask { paths: vec!["filter".into()] });
        let request =
            v1::UpdateRuleRequest { rule: Some(rule("copy", "", route("copies"))), update_mask, ..Default::default() };
        assert_eq!(reason(&weak.rules.update_rule(request).await.expect_err("refused")), "PERMISSION_DENIED");
        create(&mut weak, rule(&format!("count-{number}"), "", Action::Pass(v1::RulePass {}))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_cannot_reach_into_another_organization() {
    let (ground, app, mut clients) = spine(1).await;
    let mut others = Clients::new(&app, &ground.key("other").await).await;
    others.create_stream("theirs", 1).await;
    create(&mut clients, rule("copy", "", route("theirs"))).await;
    super::impatient(&mut clients, v1::OnFailure::Block).await;
    publish_json(&mut clients, &[("a", "mine")]).await;
    let dead = super::dead_letters(&mut clients, 1).await;
    assert_eq!(dead[0].error_class, "STREAM_NOT_FOUND");
    assert!(dead[0].reason.starts_with("rule `copy`: "), "{}", dead[0].reason);
    assert!(stored(&mut others, "theirs").await.is_empty());
    let list = v1::ListRulesRequest { stream: "orders".into() };
    assert_eq!(reason(&others.rules.list_rules(list).await.expect_err("foreign")), "STREAM_NOT_FOUND");
    let get = v1::GetRuleStatusRequest { stream: "orders".into() };
    assert_eq!(reason(&others.rules.get_rule_status(get).await.expect_err("foreign")), "STREAM_NOT_FOUND");
    assert_eq!(reason(&others.rules.delete_rule(delete("copy")).await.expect_err("foreign")), "STREAM_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_tried_on_what_is_stored_and_nothing_happens() {
    let (_ground, _app, mut clients) = spine(1).await;
    let paid = |total: u32| v1::Event { r#type: "order.paid".into(), ..event(&format!("{{\"total\": {total}}}")) };
    super::publish(&mut clients, vec![event("no JSON"), paid(5), paid(50)]).await;
    let try_out = |of: Option<Of>, events| v1::TestRuleRequest {
        stream: "orders".into(),
        of,
        events,
        payload_view: v1::PayloadView::Text.into(),
    };
    let candidate = Of::Candidate(v1::Rule {
        filter: "type == \"order.paid\" and payload.total > 10".into(),
        action: Some(redact(&["/total"])),
        ..Default::default()
    });
    let report = clients.rules.test_rule(try_out(Some(candidate), 0)).await.expect("tried").into_inner();
    assert_eq!((report.read_events, report.matched_events, report.failed_events), (3, 1, 0));
    assert_eq!(report.events[0].matched_rules, ["candidate"]);
    assert_eq!(text(report.events[0].event.as_ref().expect("an event")), r#"{"total": "[redacted]"}"#);
    let mask = Of::Candidate(v1::Rule { action: Some(redact(&["/total"])), ..Default::default() });
    let report = clients.rules.test_rule(try_out(Some(mask), 0)).await.expect("tried").into_inner();
    assert_eq!((report.matched_events, report.failed_events), (3, 1));
    assert!(report.events[0].failure.contains("not JSON"), "{report:?}");

    let off = v1::Rule { disabled: true, ..rule("copy", "payload.total == 5", route("copies")) };
    create(&mut clients, off).await;
    let report = clients.rules.test_rule(try_out(Some(Of::Name("copy".into())), 0)).await.expect("tried").into_inner();
    assert_eq!((report.matched_events, report.copies), (1, 1));
    assert_eq!(report.events[0].copied_to, ["copies"]);
    let report = clients.rules.test_rule(try_out(None, 0)).await.expect("tried").into_inner();
    assert_eq!((report.read_events, report.matched_events), (3, 0), "it is switched off");
    let report = clients.rules.test_rule(try_out(Some(Of::Name("copy".into())), 1)).await.expect("tried").into_inner();
    assert_eq!((report.read_events, report.matched_events), (1, 0), "the newest only");
    let status = clients.rules.test_rule(try_out(None, 10_001)).await.expect_err("too many");
    assert_eq!(reason(&status), "INVALID_ARGUMENT");
    assert!(stored(&mut clients, "copies").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_share_the_work() {
    let ground = Ground::new().await;
    let (one, other) = (ground.broker(&[("broker.name", "one")]).await, ground.broker(&[("broker.name", "two")]).await);
    let mut clients = Clients::new(&one, &ground.key("acme").await).await;
    clients.create_stream("orders", 8).await;
    clients.create_stream("copies", 8).await;
    create(&mut clients, rule("copy", "", route("copies"))).await;
    let members = async {
        loop {
            // poll
            let request = v1::ListMembersRequest { name: "rules.orders".into() };
            let members = clients.groups.list_members(request).await.expect("members").into_inner().members;
            let mut shares: Vec<(String, usize)> =
                members.into_iter().map(|member| (member.broker, member.partitions.len())).collect();
            shares.sort();
            if shares == [("one".to_owned(), 4), ("two".to_owned(), 4)] {
                return;
            }
        }
    };
    within("both brokers to hold four partitions", members).await;
    let texts: Vec<(String, String)> = (0..200).map(|number| (format!("k{number}"), number.to_string())).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    publish_json(&mut clients, &texts).await;
    settled(&mut clients).await;
    let mut copies: Vec<u32> =
        stored(&mut clients, "copies").await.iter().map(|copy| text(copy).parse().expect("a number")).collect();
    copies.sort_unstable();
    assert_eq!(copies, (0..200).collect::<Vec<u32>>());
    // One goes in order, and the other goes on.
    other.stop().await;
    publish_json(&mut clients, &texts).await;
    settled(&mut clients).await;
    assert_eq!(stored(&mut clients, "copies").await.len(), 400);
    assert_eq!(status(&mut clients).await.dead_letters, 0);
}
