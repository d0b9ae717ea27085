//! Dead letters that people edit before they give them back.

use super::letters::{client, kill};
use super::{dead_letters, retry_rows, seconds, shared, stage, until_done};
use crate::support::member::{Member, ack};
use crate::support::{Clients, Ground, reason};
use eventflow::Header;
use eventflow::dead_letters::{DeadLetter, DeadLetters, Edit, Which};
use eventflow_broker::identity::ApiKey;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, event::Payload, event_outcome::Outcome, subscribe_response::Frame};
use futures_util::TryStreamExt;
use tonic::Status;
use tonic_types::StatusExt;

const BAD: &str = r#"{"total":"7"}"#;
const GOOD: &str = r#"{"total":7}"#;

/// A group that gave an event up.
struct Scene {
    ground: Ground,
    app: App,
    clients: Clients,
    member: Member,
    letters: DeadLetters,
    id: String,
}

async fn scene() -> Scene {
    let (ground, app, mut clients) = stage(1, shared(2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let event = v1::Event {
        id: Some("order-7".into()),
        r#type: "order.placed".into(),
        key: Some("customer-1".into()),
        headers: vec![wire_header("a", "1"), wire_header("b", "1")],
        content_type: "application/json".into(),
        payload: Some(Payload::Text(BAD.into())),
        ..Default::default()
    };
    let request = v1::PublishRequest { stream: "orders".into(), events: vec![event], ..Default::default() };
    clients.publisher.publish(request).await.expect("published");
    kill(&mut member, 1).await;
    let letters = client(&ground, &app).await.dead_letters("workers");
    let id = only(&letters).await.id;
    Scene { ground, app, clients, member, letters, id }
}

/// The only one, as a list shows it.
async fn only(letters: &DeadLetters) -> DeadLetter {
    let mut all: Vec<DeadLetter> = letters.list(Which::default()).try_collect().await.expect("a list");
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn wire_header(name: &str, value: &str) -> v1::Header {
    v1::Header { name: name.into(), value: value.into() }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

impl Scene {
    async fn shown(&self) -> DeadLetter {
        self.letters.get(&self.id).await.expect("there")
    }

    fn request(&self, paths: &[&str], event: v1::Event) -> v1::UpdateDeadLetterRequest {
        v1::UpdateDeadLetterRequest {
            group: "workers".into(),
            dead_letter_id: self.id.clone(),
            event: Some(event),
            update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
            request_id: String::new(),
        }
    }

    async fn edit(&self, paths: &[&str], event: v1::Event) -> Result<v1::DeadLetterEdit, Status> {
        let mut letters = self.clients.dead_letters.clone();
        let answer = letters.update_dead_letter(self.request(paths, event)).await?;
        Ok(answer.into_inner().edit.expect("an edit"))
    }
}

fn with_payload(payload: impl Into<String>) -> v1::Event {
    v1::Event { payload: Some(Payload::Text(payload.into())), ..Default::default() }
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("text")
}

fn fields(status: &Status) -> Vec<String> {
    let places = status.get_details_bad_request().expect("places").field_violations;
    places.into_iter().map(|place| place.field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_event_is_redriven_as_it_was_edited_and_keeps_its_identity() {
    let mut scene = scene().await;
    let edit = Edit::default().payload(GOOD).headers([header("b", "2"), header("c", "3")]);
    let done = scene.letters.edit(&scene.id, edit).await.expect("edited");
    assert_eq!((done.changed.join(" ").as_str(), &done.original), ("payload headers", &None));
    assert!(done.editor.starts_with("key:"), "{done:?}");
    let listed = only(&scene.letters).await;
    assert_eq!(listed.edit.as_ref(), Some(&done));
    assert!(listed.record.payload().is_empty(), "a list has no payloads");
    let shown = scene.shown().await;
    let edited = shown.edit.expect("an edit");
    assert_eq!((&edited.editor, edited.time, &edited.changed), (&done.editor, done.time, &done.changed));
    let original = edited.original.expect("the original");
    assert_eq!((text(original.payload()), original.header("a")), (BAD, Some("1")));
    assert_eq!((original.id(), original.key()), (Some("order-7"), Some("customer-1")));
    assert_eq!(text(shown.record.payload()), GOOD);
    assert_eq!((shown.attempts, shown.history.len()), (2, 2), "what failed is still known");

    assert_eq!(scene.letters.redrive(Which::default(), 0).await.expect("redriven").dead_letters, 1);
    let again = scene
        .member
        .until(|_, frame| match frame {
            Frame::Redeliveries(again) => again.events.first().cloned(),
            _ => None,
        })
        .await;
    assert!(again.redriven && again.attempt == 1, "{again:?}");
    let stored = again.event.expect("an event");
    assert_eq!((stored.partition, stored.offset), (0, shown.record.offset()));
    let event = stored.event.expect("an event");
    assert_eq!((event.id.as_deref(), event.key.as_deref()), (Some("order-7"), Some("customer-1")));
    assert_eq!((event.r#type.as_str(), event.content_type.as_str()), ("order.placed", "application/json"));
    assert_eq!(event.payload, Some(Payload::Data(GOOD.into())));
    assert_eq!(event.headers, [wire_header("b", "2"), wire_header("c", "3")]);
    let outcome = v1::EventOutcome {
        lease_epoch: again.lease_epoch,
        offset: Some(stored.offset),
        outcome: Some(ack()),
        ..Default::default()
    };
    assert!(scene.member.settle(vec![outcome]).await.is_empty());
    assert_eq!(until_done(&mut scene.clients).await.dead_letter_events, 0);
    let asked = v1::GetEventRequest { stream: "orders".into(), offset: Some(stored.offset), ..Default::default() };
    let kept = scene.clients.log.get_event(asked).await.expect("in the log").into_inner().event.expect("an event");
    assert_eq!(kept.event.expect("an event").payload, Some(Payload::Text(BAD.into())), "the log is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_one_after_the_other_keep_the_first_original_and_name_the_last_editor() {
    let mut scene = scene().await;
    let first = scene.letters.edit(&scene.id, Edit::default().payload("second")).await.expect("edited");
    let key = scene.ground.key("acme").await;
    scene.clients = Clients::new(&scene.app, &key).await;
    let plain = v1::Event { content_type: "text/plain".into(), ..Default::default() };
    let second = scene.edit(&["content_type"], plain).await.expect("edited");
    assert_eq!(second.editor, format!("key:{}", ApiKey::parse(&key).expect("a key").id()));
    assert_ne!(second.editor, first.editor);
    assert_eq!((second.changed_fields.join(" ").as_str(), &second.original), ("payload content_type", &None));
    let shown = scene.shown().await;
    let edit = shown.edit.expect("an edit");
    let original = edit.original.expect("the original");
    assert_eq!((text(original.payload()), original.content_type()), (BAD, "application/json"));
    assert_eq!((edit.editor, edit.changed.join(" ").as_str()), (second.editor, "payload content_type"));
    assert_eq!((text(shown.record.payload()), shown.record.event().content_type()), ("second", "text/plain"));

    let back = v1::Event { content_type: "application/json".into(), ..with_payload(BAD) };
    let back = scene.edit(&["payload", "content_type"], back).await.expect("edited back");
    assert!(back.changed_fields.is_empty() && !back.editor.is_empty(), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_event_that_dies_again_is_the_dead_letter_that_was_delivered_and_knows_its_original() {
    let mut scene = scene().await;
    let done = scene.letters.edit(&scene.id, Edit::default().payload("not valid either")).await.expect("edited");
    scene.letters.redrive(Which::default(), 0).await.expect("redriven");
    kill(&mut scene.member, 1).await;
    scene.id = only(&scene.letters).await.id;
    let shown = scene.shown().await;
    assert_eq!(text(shown.record.payload()), "not valid either");
    let edit = shown.edit.expect("an edit");
    assert_eq!((edit.editor, edit.time, edit.changed), (done.editor, done.time, done.changed));
    assert_eq!(text(edit.original.expect("the original").payload()), BAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_not_lost_when_a_seek_has_brought_the_event_back_already() {
    let mut scene = scene().await;
    scene.letters.edit(&scene.id, Edit::default().payload(GOOD)).await.expect("edited");
    scene.member.leave().await;
    let to = Some(v1::Position { at: Some(v1::position::At::Earliest(true)) });
    let seek = v1::SeekRequest { name: "workers".into(), to, ..Default::default() };
    scene.clients.groups.seek(seek).await.expect("moved");
    let mut member = Member::join(&scene.clients, "workers", "two").await.expect("joined");
    let event = member.events().await.remove(0);
    assert_eq!(event.text, BAD, "a replay is of the log");
    let later = v1::Nack { delay: seconds(3_600), reason: "later".into(), ..Default::default() };
    assert_eq!(member.settle_one(&event, Outcome::Nack(later)).await, None);
    assert_eq!(scene.letters.redrive(Which::default(), 0).await.expect("redriven").dead_letters, 1);
    assert_eq!((dead_letters(&scene.ground).await.len(), retry_rows(&scene.ground).await), (0, 1));
    let client = scene.ground.database.connect().await;
    let sql = "select convert_from(payload, 'UTF8'), convert_from((edit).payload, 'UTF8') from eventflow.retry";
    let row = client.query_one(sql, &[]).await.expect("a retry");
    assert_eq!((row.get::<_, String>(0).as_str(), row.get::<_, String>(1).as_str()), (GOOD, BAD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_the_schema_refuses_is_refused_where_the_schema_is_enforced() {
    let mut scene = scene().await;
    let definition = r#"{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}"#;
    let register = v1::RegisterSchemaRequest {
        stream: "orders".into(),
        event_type: "order.placed".into(),
        definition: definition.into(),
        ..Default::default()
    };
    scene.clients.schemas.register_schema(register).await.expect("registered");
    let refused = scene.edit(&["payload"], with_payload(r#"{"total":"eight"}"#)).await.expect_err("refused");
    assert_eq!((reason(&refused).as_str(), fields(&refused)), ("SCHEMA_VIOLATION", vec!["event.payload/total".into()]));
    assert!(scene.shown().await.edit.is_none(), "a refusal changes nothing");
    let headers = v1::Event { headers: vec![wire_header("a", "2")], ..Default::default() };
    scene.edit(&["headers"], headers).await.expect("its payload is older than the schema");
    scene.edit(&["payload"], with_payload(GOOD)).await.expect("fits");
    let policy = v1::SchemaPolicy { enforcement: v1::SchemaEnforcement::Warn.into(), ..v1::SchemaPolicy::default() };
    let stream = v1::Stream { name: "orders".into(), schema_policy: Some(policy), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["schema_policy.enforcement".into()] });
    let request = v1::UpdateStreamRequest { stream: Some(stream), update_mask, ..Default::default() };
    scene.clients.streams.update_stream(request).await.expect("updated");
    scene.edit(&["payload"], with_payload(BAD)).await.expect("a warning refuses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_publish_could_append_is_refused_with_its_field_and_limit() {
    let scene = scene().await;
    let large = scene.edit(&["payload"], with_payload("x".repeat(1024 * 1024))).await.expect_err("too large");
    assert_eq!((reason(&large).as_str(), fields(&large)), ("EVENT_TOO_LARGE", vec!["event".into()]));
    assert!(large.message().contains("allows 1048576"), "{}", large.message());
    let headers = |headers: Vec<v1::Header>| v1::Event { headers, ..Default::default() };
    let cases = [
        (vec!["headers"], Some(headers(vec![wire_header("", "1")])), "event.headers[0].name", "1 to 256"),
        (vec!["headers"], Some(headers(vec![wire_header("a", "x\0")])), "event.headers[0].value", "NUL"),
        (vec!["headers"], Some(headers(vec![wire_header("a", "1"); 2])), "event.headers", "`a` comes twice"),
        (vec!["headers"], Some(headers(vec![wire_header("a", &"v".repeat(16 * 1024))])), "event.headers", "16384"),
        (vec!["payload", "key"], Some(with_payload("x")), "update_mask", "`key`"),
        (vec![], Some(with_payload("x")), "update_mask", "`payload`"),
        (vec!["payload"], None, "event", "must be set"),
    ];
    for (paths, event, field, text) in cases {
        let request = v1::UpdateDeadLetterRequest { event, ..scene.request(&paths, v1::Event::default()) };
        let mut letters = scene.clients.dead_letters.clone();
        let refused = letters.update_dead_letter(request).await.expect_err(field);
        assert_eq!((reason(&refused).as_str(), fields(&refused)), ("INVALID_ARGUMENT", vec![field.to_owned()]));
        assert!(refused.message().contains(text), "`{text}` in {}", refused.message());
    }
    assert!(scene.shown().await.edit.is_none(), "a refusal changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_cannot_edit_a_dead_letter_even_by_its_id() {
    let mut scene = scene().await;
    scene.clients = Clients::new(&scene.app, &scene.ground.key("globex").await).await;
    let refused = scene.edit(&["payload"], with_payload("theirs")).await.expect_err("no such group");
    assert_eq!(reason(&refused), "CONSUMER_GROUP_NOT_FOUND");
    scene.clients.create_stream("orders", 1).await;
    scene.clients.create_group("workers", "orders").await;
    let refused = scene.edit(&["payload"], with_payload("theirs")).await.expect_err("not of their group");
    assert_eq!(reason(&refused), "DEAD_LETTER_NOT_FOUND");
    assert!(scene.shown().await.edit.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_asked_for_twice_happens_once_and_stands_in_the_audit_log() {
    let mut scene = scene().await;
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = v1::UpdateDeadLetterRequest { request_id, ..scene.request(&["payload"], with_payload("first")) };
    let first = scene.clients.dead_letters.update_dead_letter(request.clone()).await.expect("edited").into_inner();
    scene.edit(&["payload"], with_payload("second")).await.expect("edited");
    let again = scene.clients.dead_letters.update_dead_letter(request.clone()).await.expect("answered").into_inner();
    assert_eq!(again, first);
    assert_eq!(text(scene.shown().await.record.payload()), "second");
    let other = v1::UpdateDeadLetterRequest { event: Some(with_payload("third")), ..request };
    let refused = scene.clients.dead_letters.update_dead_letter(other).await.expect_err("another request");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let client = scene.ground.database.connect().await;
    let sql = "select object, detail from eventflow.audit_event where action = 'UpdateDeadLetter'";
    let rows = client.query(sql, &[]).await.expect("entries");
    let entries: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let entry = ("group:workers".to_owned(), format!("payload of dead letter {}", scene.id));
    assert_eq!(entries, [entry.clone(), entry]);
}
