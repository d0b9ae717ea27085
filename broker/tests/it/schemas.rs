//! Schemas over gRPC: registered, compared, enforced.

use crate::support::{Clients, Ground, appended, event, reason, text};
use eventflow_broker::jobs::Job;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{
    self, SchemaCompatibility as Mode, SchemaEnforcement as Enforcement, partition_result::Outcome,
    publish_stream_response::Answer,
};
use eventflow_testkit::within;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

const TOTAL: &str = r#"{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}"#;

async fn spine() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 4).await;
    (ground, app, clients)
}

fn candidate(kind: &str, definition: &str) -> v1::RegisterSchemaRequest {
    v1::RegisterSchemaRequest {
        stream: "orders".into(),
        event_type: kind.into(),
        definition: definition.into(),
        ..Default::default()
    }
}

async fn register(clients: &mut Clients, kind: &str, definition: &str) -> Result<v1::Schema, Status> {
    let answer = clients.schemas.register_schema(candidate(kind, definition)).await?;
    Ok(answer.into_inner().schema.expect("a schema"))
}

async fn set_policy(clients: &mut Clients, enforcement: Enforcement, compatibility: Mode) {
    let policy = v1::SchemaPolicy { enforcement: enforcement.into(), compatibility: compatibility.into() };
    let stream = v1::Stream { name: "orders".into(), schema_policy: Some(policy), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["schema_policy".into()] });
    let request = v1::UpdateStreamRequest { stream: Some(stream), update_mask, ..Default::default() };
    let stream = clients.streams.update_stream(request).await.expect("updated").into_inner().stream;
    assert_eq!(stream.expect("a stream").schema_policy, Some(policy));
}

fn typed(kind: &str, key: Option<&str>, payload: &str) -> v1::Event {
    v1::Event { r#type: kind.into(), key: key.map(Into::into), ..event(payload) }
}

async fn publish(clients: &mut Clients, events: Vec<v1::Event>) -> Vec<v1::PartitionResult> {
    let request = v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
    clients.publisher.publish(request).await.expect("answered").into_inner().results
}

fn error(result: &v1::PartitionResult) -> &v1::ErrorStatus {
    match &result.outcome {
        Some(Outcome::Error(error)) => error,
        other => panic!("a refusal, not {other:?}"),
    }
}

fn fields(violations: &[v1::FieldViolation]) -> Vec<&str> {
    violations.iter().map(|violation| violation.field.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_refuses_its_partitions_part_and_every_violation_is_named() {
    let (_ground, _app, mut clients) = spine().await;
    register(&mut clients, "order.placed", TOTAL).await.expect("registered");
    // `us` and `a` go to different partitions.
    let events = vec![
        typed("order.placed", Some("a"), r#"{"total": 1}"#),
        typed("order.placed", Some("us"), r#"{"total": 2}"#),
        typed("order.placed", Some("us"), r#"{"total": "secret"}"#),
        typed("other", Some("us"), "no JSON, and no schema"),
        typed("order.placed", Some("us"), "[]"),
    ];
    let results = publish(&mut clients, events.clone()).await;
    let (good, bad): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| matches!(result.outcome, Some(Outcome::Appended(_))));
    assert_eq!((good.len(), good[0].event_indexes.as_slice()), (1, [0].as_slice()));
    let refusal = error(bad[0]);
    assert_eq!((refusal.reason.as_str(), refusal.code), ("SCHEMA_VIOLATION", Code::InvalidArgument as i32));
    assert_eq!((refusal.metadata["applied"].as_str(), refusal.metadata["invalid_events"].as_str()), ("no", "2"));
    assert_eq!(fields(&refusal.field_violations), ["events[2].payload/total", "events[4].payload"]);
    assert!(refusal.message.starts_with("`events[2].payload/total`: "), "{}", refusal.message);
    assert!(!format!("{refusal:?}").contains("secret"), "payloads are not repeated: {refusal:?}");

    let check = v1::PublishRequest { stream: "orders".into(), events, validate_only: true, ..Default::default() };
    let results = clients.publisher.publish(check).await.expect("answered").into_inner().results;
    assert!(results.iter().any(|result| matches!(result.outcome, Some(Outcome::Validated(_)))));
    assert!(
        results
            .iter()
            .any(|result| matches!(&result.outcome, Some(Outcome::Error(e)) if e.reason == "SCHEMA_VIOLATION"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_warns_or_is_off_as_the_stream_says() {
    let (_ground, _app, mut clients) = spine().await;
    register(&mut clients, "", TOTAL).await.expect("registered");
    let bad = || vec![typed("any", Some("a"), "{}"), typed("any", Some("a"), r#"{"total": 1}"#)];
    set_policy(&mut clients, Enforcement::Warn, Mode::Backward).await;
    let warned = publish(&mut clients, bad()).await.remove(0);
    assert_eq!(appended(&warned).event_count, 2);
    assert_eq!(fields(&warned.schema_warnings), ["events[0].payload"]);
    set_policy(&mut clients, Enforcement::Off, Mode::Backward).await;
    let off = publish(&mut clients, bad()).await.remove(0);
    assert_eq!((appended(&off).event_count, off.schema_warnings.len()), (2, 0));
    set_policy(&mut clients, Enforcement::Reject, Mode::Backward).await;
    assert_eq!(error(&publish(&mut clients, bad()).await[0]).reason, "SCHEMA_VIOLATION");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_keeps_order_after_a_schemas_refusal() {
    let (_ground, _app, mut clients) = spine().await;
    register(&mut clients, "", TOTAL).await.expect("registered");
    let producer = Uuid::new_v4();
    let request = |sequence: i64, payload: &str| crate::support::sequenced("orders", producer, 0, sequence, &[payload]);
    let total = |total: u32| format!("{{\"total\": {total}}}");
    let requests =
        [request(0, &total(1)), request(1, "{}"), request(2, &total(2)), request(1, &total(3)), request(2, &total(4))];
    let frames = requests.map(|publish| v1::PublishStreamRequest { publish: Some(publish) });
    let answers = clients.publisher.publish_stream(tokio_stream::iter(frames)).await.expect("a stream").into_inner();
    let said: Vec<String> = answers
        .map(|answer| match answer.expect("an answer").answer.expect("set") {
            Answer::Published(published) => match &published.results[0].outcome {
                Some(Outcome::Appended(appended)) => appended.base_offset.to_string(),
                Some(Outcome::Error(error)) => error.reason.clone(),
                other => panic!("{other:?}"),
            },
            Answer::Error(error) => error.reason,
        })
        .collect()
        .await;
    assert_eq!(said, ["0", "SCHEMA_VIOLATION", "PRECEDING_FAILED", "1", "2"]);
    let read = v1::ReadRequest { stream: "orders".into(), partition: Some(0), ..Default::default() };
    let mut frames = clients.log.read(read).await.expect("a read").into_inner();
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.expect("a frame").frame {
            seen.extend(batch.head.events.iter().map(text));
        }
    }
    assert_eq!(seen, [total(1), total(3), total(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_follow_one_another_only_as_the_mode_allows() {
    let (_ground, _app, mut clients) = spine().await;
    let first = register(&mut clients, "order.placed", TOTAL).await.expect("registered");
    assert_eq!((first.version, first.draft.as_str(), first.definition.as_str()), (1, "2020-12", TOTAL));
    assert_eq!(register(&mut clients, "order.placed", TOTAL).await.expect("the same"), first);
    let narrower = r#"{"type": "object", "required": ["total", "id"], "properties": {"total": {"type": "integer"}}}"#;
    let status = register(&mut clients, "order.placed", narrower).await.expect_err("incompatible");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "SCHEMA_INCOMPATIBLE"));
    let named: Vec<String> =
        status.get_details_bad_request().expect("places").field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(named, ["definition/required", "definition/properties/total/type"]);

    let check = |compatibility: Mode, definition: &str| v1::CheckCompatibilityRequest {
        stream: "orders".into(),
        event_type: "order.placed".into(),
        definition: definition.into(),
        compatibility: compatibility.into(),
    };
    let undecided =
        r#"{"type": "object", "required": ["total"], "oneOf": [true], "properties": {"total": {"type": "number"}}}"#;
    let answer =
        clients.schemas.check_compatibility(check(Mode::Unspecified, undecided)).await.expect("checked").into_inner();
    assert_eq!((answer.compatible, answer.compared_version, answer.compatibility()), (false, 1, Mode::Backward));
    assert!(answer.problems[0].undecided && answer.problems[0].pointer == "/oneOf", "{answer:?}");
    for (mode, compatible) in [(Mode::None, true), (Mode::Forward, true), (Mode::Backward, false), (Mode::Full, false)]
    {
        let answer = clients.schemas.check_compatibility(check(mode, narrower)).await.expect("checked").into_inner();
        assert_eq!(answer.compatible, compatible, "{mode:?}: {answer:?}");
    }
    set_policy(&mut clients, Enforcement::Reject, Mode::Forward).await;
    assert_eq!(register(&mut clients, "order.placed", narrower).await.expect("forward").version, 2);

    let list = |newest_only, page_token: String| v1::ListSchemasRequest {
        stream: "orders".into(),
        newest_only,
        page_size: 1,
        page_token,
        ..Default::default()
    };
    register(&mut clients, "", "true").await.expect("registered");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = clients.schemas.list_schemas(list(false, token)).await.expect("a page").into_inner();
        seen.extend(page.schemas.into_iter().map(|schema| (schema.event_type, schema.version)));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [(String::new(), 1), ("order.placed".to_owned(), 1), ("order.placed".to_owned(), 2)]);
    let newest = v1::ListSchemasRequest { page_size: 0, ..list(true, String::new()) };
    let newest = clients.schemas.list_schemas(newest).await.expect("a page").into_inner().schemas;
    assert_eq!(newest.iter().map(|schema| schema.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_at_the_same_time_take_turns_and_each_follows_the_one_before() {
    let (_ground, _app, mut clients) = spine().await;
    set_policy(&mut clients, Enforcement::Reject, Mode::None).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut clients = clients.clone();
        calls.spawn(async move {
            let definition = format!("{{\"minimum\": {number}}}");
            register(&mut clients, "", &definition).await.expect("registered").version
        });
    }
    let mut versions = calls.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=16).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_reaches_every_broker_within_the_catalogues_staleness() {
    let (ground, _app, mut clients) = spine().await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut elsewhere = Clients::new(&other, &key).await;
    let bad = || vec![typed("", None, "{}")];
    assert_eq!(appended(&publish(&mut elsewhere, bad()).await[0]).event_count, 1);
    register(&mut clients, "", TOTAL).await.expect("registered");
    assert_eq!(error(&publish(&mut clients, bad()).await[0]).reason, "SCHEMA_VIOLATION", "here at once");
    let began = Instant::now();
    // poll
    while matches!(publish(&mut elsewhere, bad()).await[0].outcome, Some(Outcome::Appended(_))) {
        assert!(began.elapsed().as_secs_f64() < 6.0, "a broker goes on by an old schema"); // bound: staleness (5 s) + 1 s
    }
    // And the way back.
    set_policy(&mut clients, Enforcement::Off, Mode::Backward).await;
    // poll
    let look =
        async { while !matches!(publish(&mut elsewhere, bad()).await[0].outcome, Some(Outcome::Appended(_))) {} };
    within("the other broker to hear of it", look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_validated_and_a_candidate_checked_against_what_is_stored() {
    let (_ground, _app, mut clients) = spine().await;
    let validate = |kind: &str, payload: &str| v1::ValidateEventRequest {
        stream: "orders".into(),
        event: Some(typed(kind, None, payload)),
    };
    let none = clients.schemas.validate_event(validate("a", "x")).await.expect("validated").into_inner();
    assert_eq!((none.valid, none.schema_version), (true, 0));
    register(&mut clients, "own", "true").await.expect("registered");
    for (partition, payloads) in [(0, vec![r#"{"total": 1}"#, "{}"]), (2, vec![r#"{"total": "x"}"#, "text"])] {
        let events = payloads.iter().map(|payload| typed("a", None, payload)).chain([typed("own", None, "[]")]);
        let events = events.collect();
        let partition = Some(partition);
        let request = v1::PublishRequest { stream: "orders".into(), events, partition, ..Default::default() };
        let result = clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0);
        assert_eq!(appended(&result).event_count, 3);
    }
    let history = |kind: &str, events| v1::CheckAgainstHistoryRequest {
        stream: "orders".into(),
        event_type: kind.into(),
        definition: TOTAL.into(),
        events,
    };
    let report = clients.schemas.check_against_history(history("", 0)).await.expect("checked").into_inner();
    assert_eq!((report.read_events, report.checked_events, report.broken_events), (6, 4, 3));
    let broken: Vec<(u32, i64, &str)> =
        report.broken.iter().map(|event| (event.partition, event.offset, event.violations[0].field.as_str())).collect();
    assert_eq!(broken, [(0, 1, "payload"), (2, 0, "payload/total"), (2, 1, "payload")]);
    let own = clients.schemas.check_against_history(history("own", 0)).await.expect("checked").into_inner();
    assert_eq!((own.read_events, own.checked_events, own.broken_events), (6, 2, 2));
    let few = clients.schemas.check_against_history(history("", 4)).await.expect("checked").into_inner();
    assert_eq!(few.read_events, 2, "one of each partition that has any");
    register(&mut clients, "", TOTAL).await.expect("registered");
    let found =
        clients.schemas.validate_event(validate("a", r#"{"total": []}"#)).await.expect("validated").into_inner();
    assert_eq!((found.valid, found.schema_version, found.schema_event_type.as_str()), (false, 1, ""));
    assert_eq!(fields(&found.violations), ["event.payload/total"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_belong_to_their_stream_and_organization_and_are_limited() {
    let (ground, app, mut clients) = spine().await;
    let get = |kind: &str, version| v1::GetSchemaRequest { stream: "orders".into(), event_type: kind.into(), version };
    let missing = clients.schemas.get_schema(get("none", 0)).await.expect_err("missing");
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "SCHEMA_NOT_FOUND"));
    register(&mut clients, "own", "true").await.expect("registered");
    let status = clients.schemas.get_schema(get("own", 2)).await.expect_err("missing");
    assert_eq!(reason(&status), "SCHEMA_NOT_FOUND");
    let key = ground.key("globex").await;
    let mut foreign = Clients::new(&app, &key).await;
    assert_eq!(reason(&foreign.schemas.get_schema(get("own", 1)).await.expect_err("foreign")), "STREAM_NOT_FOUND");
    assert_eq!(reason(&register(&mut foreign, "own", "true").await.expect_err("foreign")), "STREAM_NOT_FOUND");
    foreign.create_stream("orders", 1).await;
    assert_eq!(reason(&foreign.schemas.get_schema(get("own", 1)).await.expect_err("another")), "SCHEMA_NOT_FOUND");

    let superuser = ground.database.connect().await;
    let rows = superuser.execute("update eventflow.event_schema set version = 1000", &[]).await.expect("updated");
    assert_eq!(rows, 1);
    assert_eq!(reason(&register(&mut clients, "own", "{}").await.expect_err("full")), "TOO_MANY_SCHEMAS");
    let bad = register(&mut clients, "own", r#"{"$ref": "file:///etc/passwd"}"#).await.expect_err("not local");
    assert_eq!(bad.get_details_bad_request().expect("places").field_violations[0].field, "definition/$ref");

    clients
        .streams
        .delete_stream(v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() })
        .await
        .expect("deleted");
    let left = async || {
        superuser.query_one("select count(*) from eventflow.event_schema", &[]).await.expect("counted").get::<_, i64>(0)
    };
    for _ in 0..3 {
        Job::Retention.tick(app.store()).await.expect("reclaimed");
        Job::Prune.tick(app.store()).await.expect("pruned");
    }
    assert_eq!(left().await, 0, "schemas go with the last of their stream");
}
