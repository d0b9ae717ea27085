//! Alerts as objects: made, refused, listed, changed, deleted, and who sees what of them.

use super::{alert, create, spine, telling, test, try_create, try_get, try_update, until};
use crate::support::{Clients, reason};
use eventflow_broker::domain::access::Role;
use eventflow_proto::v1::{self, AlertMeasure, AlertState};
use eventflow_testkit::{Reply, WebhookReceiver};
use tonic::Code;

async fn names(clients: &mut Clients, group: &str) -> Vec<String> {
    let request = v1::ListAlertsRequest { group: group.into(), ..Default::default() };
    let page = clients.alerts.list_alerts(request).await.expect("a page").into_inner();
    page.alerts.into_iter().map(|alert| format!("{}/{}", alert.group, alert.name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_made_listed_changed_and_deleted() {
    let (_ground, _app, mut clients) = spine().await;
    clients.create_group("audit", "orders").await;
    let mut wanted = alert("behind", AlertMeasure::LagSeconds, 60);
    (wanted.description, wanted.hold) = ("call Ada".into(), super::seconds(90));
    let made = try_create(&mut clients, wanted).await.expect("made");
    assert!(made.secret.is_empty(), "there is nobody to tell");
    let made = made.alert.expect("an alert");
    assert_eq!((made.measure(), made.threshold, made.hold), (AlertMeasure::LagSeconds, 60, super::seconds(90)));
    assert_eq!((made.state(), made.value, made.version), (AlertState::Ok, None, 1));
    create(&mut clients, v1::Alert { group: "audit".into(), ..alert("behind", AlertMeasure::LagEvents, 1) }).await;
    create(&mut clients, alert("a", AlertMeasure::LagEvents, 1)).await;
    assert_eq!(names(&mut clients, "").await, ["audit/behind", "billing/a", "billing/behind"]);
    assert_eq!(names(&mut clients, "billing").await, ["billing/a", "billing/behind"]);
    let mut token = String::new();
    for expected in ["audit/behind", "billing/a", "billing/behind"] {
        let request = v1::ListAlertsRequest { page_size: 1, page_token: token, ..Default::default() };
        let page = clients.alerts.list_alerts(request).await.expect("a page").into_inner();
        assert_eq!(format!("{}/{}", page.alerts[0].group, page.alerts[0].name), expected);
        token = page.next_page_token;
    }
    assert!(token.is_empty());
    let change =
        v1::Alert { threshold: 5, description: "ignored".into(), ..alert("behind", AlertMeasure::LagEvents, 5) };
    let changed = try_update(&mut clients, change, &["threshold", "hold"]).await.expect("changed");
    assert_eq!((changed.threshold, changed.hold, changed.version), (5, super::seconds(0), 2));
    assert_eq!((changed.measure(), changed.description.as_str()), (AlertMeasure::LagSeconds, "call Ada"));
    let bad = try_update(&mut clients, alert("behind", AlertMeasure::LagEvents, -1), &["threshold"]).await;
    assert_eq!(reason(&bad.expect_err("negative")), "INVALID_ARGUMENT");
    let delete = v1::DeleteAlertRequest { group: "billing".into(), name: "behind".into(), ..Default::default() };
    clients.alerts.delete_alert(delete.clone()).await.expect("deleted");
    let status = clients.alerts.delete_alert(delete).await.expect_err("gone");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ALERT_NOT_FOUND"));
    assert_eq!(names(&mut clients, "").await, ["audit/behind", "billing/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once_and_a_group_has_so_many_alerts() {
    let (ground, _app, mut clients) = spine().await;
    create(&mut clients, alert("a1", AlertMeasure::LagEvents, 1)).await;
    let status = try_create(&mut clients, alert("a1", AlertMeasure::LagSeconds, 1)).await.expect_err("taken");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "ALERT_EXISTS"));
    for number in 2..=20 {
        create(&mut clients, alert(&format!("a{number}"), AlertMeasure::LagEvents, 1)).await;
    }
    let status = try_create(&mut clients, alert("a21", AlertMeasure::LagEvents, 1)).await.expect_err("too many");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TOO_MANY_ALERTS"));
    // Another group has room, until the organization has none.
    clients.create_group("audit", "orders").await;
    let elsewhere = |name: &str| v1::Alert { group: "audit".into(), ..alert(name, AlertMeasure::LagEvents, 1) };
    create(&mut clients, elsewhere("one")).await;
    clients.create_group("crowd", "orders").await;
    let crowd = "insert into eventflow.alert (organization_id, group_id, name, measure, threshold, due_at)
        select g.organization_id, g.group_id, 'c' || n, 'lag_events', 1, clock_timestamp() + interval '1 hour'
        from eventflow.consumer_group g, generate_series(1, 979) n where g.name = 'crowd'";
    assert_eq!(ground.database.connect().await.execute(crowd, &[]).await.expect("a crowd"), 979);
    let status = try_create(&mut clients, elsewhere("two")).await.expect_err("too many");
    assert_eq!(reason(&status), "TOO_MANY_ALERTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_alert_is_as_absent_as_one_that_never_was() {
    let (ground, app, mut clients) = spine().await;
    let receiver = WebhookReceiver::start([]).await;
    create(&mut clients, telling("behind", &receiver.url())).await;
    let mut other = Clients::new(&app, &ground.key("other").await).await;
    let status = try_get(&mut other, "behind").await.expect_err("absent");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "CONSUMER_GROUP_NOT_FOUND"));
    // With a group of the same name the alert of the other organization is none either.
    other.create_stream("orders", 1).await;
    other.create_group("billing", "orders").await;
    assert!(names(&mut other, "").await.is_empty());
    let (group, name) = (|| "billing".to_owned(), || "behind".to_owned());
    let delete = v1::DeleteAlertRequest { group: group(), name: name(), ..Default::default() };
    let rotate = v1::RotateAlertSecretRequest { group: group(), name: name(), ..Default::default() };
    for status in [
        try_get(&mut other, "behind").await.expect_err("absent"),
        test(&mut other, "behind").await.expect_err("absent"),
        try_update(&mut other, telling("behind", ""), &["threshold"]).await.expect_err("absent"),
        other.alerts.delete_alert(delete).await.expect_err("absent"),
        other.alerts.rotate_alert_secret(rotate).await.expect_err("absent"),
    ] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ALERT_NOT_FOUND"));
    }
    create(&mut other, alert("behind", AlertMeasure::LagEvents, 7)).await;
    assert_eq!(try_get(&mut clients, "behind").await.expect("an alert").threshold, 0);
    assert_eq!(receiver.connections().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_their_notifications_go_with_their_group_and_its_stream() {
    let (ground, _app, mut clients) = spine().await;
    clients.create_group("audit", "orders").await;
    let receiver = WebhookReceiver::that_always(Reply::Status(500)).await;
    clients.publish("orders", 0, &["a"]).await;
    create(&mut clients, telling("behind", &receiver.url())).await;
    create(&mut clients, v1::Alert { group: "audit".into(), ..telling("behind", &receiver.url()) }).await;
    receiver.post(2).await;
    let sql = ground.database.connect().await;
    let left = async || -> (i64, i64) {
        let count = "select (select count(*) from eventflow.alert), (select count(*) from eventflow.alert_delivery)";
        let row = sql.query_one(count, &[]).await.expect("counts");
        (row.get(0), row.get(1))
    };
    assert_eq!(left().await, (2, 2));
    let request = v1::DeleteConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    clients.groups.delete_consumer_group(request).await.expect("removed");
    assert_eq!(left().await, (1, 1));
    let request = v1::DeleteStreamRequest { name: "orders".into(), force: true, ..Default::default() };
    clients.streams.delete_stream(request).await.expect("removed");
    assert_eq!(left().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_manage_the_group_sees_the_host_of_a_webhook_only() {
    let (ground, app, mut clients) = spine().await;
    let url = "http://127.0.0.1:9/secret/path?token=x";
    create(&mut clients, telling("behind", url)).await;
    assert_eq!(try_get(&mut clients, "behind").await.expect("an alert").webhook_url, url);
    let viewer = ground.signed_in(&app, "acme", "viewer@example.com", Role::Viewer).await;
    let reader = ground.key_for("acme", &["read"]).await;
    for credential in [viewer, reader] {
        let mut clients = Clients::new(&app, &credential).await;
        assert_eq!(try_get(&mut clients, "behind").await.expect("an alert").webhook_url, "http://127.0.0.1:9/…");
        let page = clients.alerts.list_alerts(v1::ListAlertsRequest::default()).await.expect("a page").into_inner();
        assert_eq!(page.alerts[0].webhook_url, "http://127.0.0.1:9/…");
        let status = test(&mut clients, "behind").await.expect_err("refused");
        assert_eq!(reason(&status), "PERMISSION_DENIED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_is_in_no_table_and_every_act_has_its_entry() {
    let (ground, app, mut clients) = spine().await;
    let receiver = WebhookReceiver::start([]).await;
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = v1::CreateAlertRequest { alert: Some(telling("behind", &receiver.url())), request_id };
    let first = clients.alerts.create_alert(request.clone()).await.expect("made").into_inner();
    let again = clients.alerts.create_alert(request).await.expect("the same").into_inner();
    assert!(!first.secret.is_empty() && again.secret.is_empty() && first.alert == again.alert, "{again:?}");
    test(&mut clients, "behind").await.expect("answered");
    clients.publish("orders", 0, &["a"]).await;
    receiver.post(2).await;
    until(&mut clients, "behind", |alert| alert.last_delivery.is_some()).await;
    let sql = ground.database.connect().await;
    let tables = "select table_name::text from information_schema.tables
        where table_schema = 'eventflow' and table_type = 'BASE TABLE'";
    for table in sql.query(tables, &[]).await.expect("tables") {
        let table: String = table.get(0);
        let rows = sql.query(&format!("select t::text from eventflow.{table} t"), &[]).await.expect("rows");
        let found = rows.iter().any(|row| row.get::<_, String>(0).contains(&first.secret));
        assert!(!found, "the secret is in `{table}`");
    }
    let mut boss = Clients::new(&app, &ground.signed_in(&app, "acme", "boss@example.com", Role::Admin).await).await;
    let request = v1::ListAuditEventsRequest { object: "alert:billing/behind".into(), ..Default::default() };
    let entries = boss.audit.list_audit_events(request).await.expect("entries").into_inner().events;
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["TestAlert", "CreateAlert"]);
}
