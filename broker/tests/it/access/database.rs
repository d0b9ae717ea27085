//! The database's own line, with nothing of the services before it.
//!
//! What is switched off is switched off in the database of the test, never in the broker: it is the one that ships. In the first
//! run every transaction is another organization's, while the services go by the caller's: whatever they check is satisfied, and
//! row-level security alone is left. In the second run the catalogue of an organization leads to the partitions and groups of
//! another one, so that the services pass these on: the functions of the hot tables alone are left.

use super::dynamic::{answers, methods};
use super::matrix::{Objects, Row, table};
use crate::support::{Clients, Ground};
use eventflow_broker::domain::access::Role;
use eventflow_proto::v1::{self, event_outcome::Outcome};
use prost_reflect::MethodDescriptor;
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tonic::transport::{Channel, Endpoint};

/// What stands in every event of the organization that nobody may see, and how many events it has: answers count as well.
const SECRET: &str = "nobody else's business";
const COUNT: usize = 4_321;

/// Tables and the rows of an organization in them, without what the mere use of a credential changes.
const ROWS: [(&str, &str); 18] = [
    ("organization", "t.*"),
    ("stream", "t.*"),
    ("stream_partition", "t.*"),
    ("event_schema", "t.*"),
    ("consumer_group", "t.*"),
    ("alert", "t.alert_id, t.name, t.measure, t.threshold, t.webhook_url, t.secret_version, t.version"),
    ("admin_request", "t.*"),
    ("api_key", "t.key_id, t.scopes, t.expires_at, t.revoked_at, t.successor"),
    ("user_account", "t.user_id, t.role, t.disabled, t.name, t.password_hash, t.invitation_sha256"),
    ("user_session", "t.session_id, t.ended_at"),
    ("partition_head", "t.*"),
    ("event_batch", "t.partition_id, t.base_offset, t.crc"),
    ("consumer_offset", "t.*"),
    ("group_state", "t.*"),
    ("group_member", "t.group_id, t.member_name, t.session_id"),
    ("group_claim", "t.*"),
    ("dead_letter_event", "t.*"),
    ("redrive", "t.*"),
];

async fn id_of(client: &Client, organization: &str) -> i64 {
    let sql = "select organization_id from eventflow.organization where name = $1";
    client.query_one(sql, &[&organization]).await.expect("an organization").get(0)
}

/// All rows of an organization, by table.
async fn rows(client: &Client, organization: i64) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for (table, columns) in ROWS {
        let sql =
            format!("select row({columns})::text from eventflow.{table} t where t.organization_id = $1 order by 1");
        let found = client.query(&sql, &[&organization]).await.unwrap_or_else(|error| panic!("{table}: {error:?}"));
        all.insert(table, found.iter().map(|row| row.get(0)).collect());
    }
    all
}

fn changed(before: &BTreeMap<&str, Vec<String>>, after: &BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let differ = before.iter().filter(|(table, rows)| after.get(*table) != Some(rows));
    differ.map(|(table, rows)| format!("{table}: {rows:#?} became {:#?}", after[table])).collect()
}

/// Everything that a row of the matrix may name.
const PLACES: [&str; 8] = ["$key", "$user", "$stream", "$group", "$fresh", "$uuid", "$alert", "$redrive"];

fn filled(request: &str, names: &[String]) -> String {
    PLACES.iter().zip(names).fold(request.to_owned(), |request, (place, name)| request.replace(place, name))
}

/// What a caller is told, with the names that they have said themselves taken out.
async fn told(
    channel: &Channel,
    method: &MethodDescriptor,
    credential: &str,
    request: &str,
    names: &[String],
) -> String {
    let (seen, failure) = answers(channel, method, credential, request).await;
    let failure = failure.map(|status| format!("{:?}: {}", status.code(), status.message()));
    let text = format!("{} {failure:?}", serde_json::to_string(&seen).expect("json"));
    names.iter().fold(text, |text, name| text.replace(name.as_str(), "?"))
}

async fn channel_to(app: &eventflow_broker::runtime::app::App) -> Channel {
    let url = format!("http://{}", app.grpc_address());
    Endpoint::from_shared(url).expect("a url").connect().await.expect("a connection")
}

/// Rows of the matrix, what takes things away last.
fn all_rows() -> Vec<(Row<'static>, MethodDescriptor)> {
    let methods: BTreeMap<_, _> = methods().into_iter().collect();
    let (_, mut rows) = table();
    let last =
        |rpc: &str| ["Delete", "Remove", "Revoke", "Logout"].iter().any(|verb| rpc.contains(&format!("/{verb}")));
    rows.sort_by_key(|row| last(row.rpc));
    let with_method = |row: Row<'static>| {
        let method = methods[row.rpc].clone();
        (row, method)
    };
    rows.into_iter().map(with_method).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_check_of_the_services_satisfied_row_level_security_alone_shows_nothing() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let client = ground.database.connect().await;
    let mut objects = Objects::new(&ground, &app).await;
    ground.key("other").await;
    let credentials = [ground.key("acme").await, ground.signed_in(&app, "acme", "boss@example.com", Role::Admin).await];
    // For each row, something that is there, and something that never was.
    let mut asked = Vec::new();
    for (row, method) in all_rows() {
        for credential in &credentials {
            let there = objects.fill(&PLACES.join(" ")).await;
            let there: Vec<String> = there.split(' ').map(str::to_owned).collect();
            let number = asked.len();
            let never = [
                format!("never{number:07}"),
                uuid::Uuid::new_v4().to_string(),
                format!("own.never{number}"),
                format!("own.no{number}"),
                format!("own.fresh{number}"),
                uuid::Uuid::new_v4().to_string(),
                format!("never{number}"),
                uuid::Uuid::new_v4().to_string(),
            ];
            asked.push((row.rpc, row.request, method.clone(), credential, there, never.to_vec()));
        }
    }
    // The control: while the database is right, whoever looks sees what is there.
    let (sighted, mut seen) = (channel_to(&app).await, 0);
    for (rpc, request, method, credential, there, never) in asked.iter().filter(|(rpc, ..)| rpc.contains("/Get")) {
        let found = told(&sighted, method, credential, &filled(request, there), there).await;
        let absent = told(&sighted, method, credential, &filled(request, never), never).await;
        seen += usize::from(found != absent && !rpc.contains("Caller"));
    }
    assert!(seen >= 10, "only {seen} answers tell what is there from what is not");
    let (acme, other) = (id_of(&client, "acme").await, id_of(&client, "other").await);
    let before = rows(&client, acme).await;
    let mistaken = format!(
        "create or replace function eventflow.current_organization() returns bigint language sql stable as \
         $$ select {other}::bigint $$"
    );
    client.batch_execute(&mistaken).await.expect("mistaken");
    // Another broker: the first one remembers what it was shown.
    let blind = ground.broker(&[("mail.url", "log:")]).await;
    let channel = channel_to(&blind).await;
    let mut wrong = Vec::new();
    for (rpc, request, method, credential, there, never) in asked {
        let found = told(&channel, &method, credential, &filled(request, &there), &there).await;
        let absent = told(&channel, &method, credential, &filled(request, &never), &never).await;
        if found != absent || found.contains("an event") {
            wrong.push(format!("{rpc} tells what is there:\n  {found}\n  from what never was:\n  {absent}"));
        }
    }
    wrong.extend(changed(&before, &rows(&client, acme).await));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An organization with so many events, a group that has read it, and a group that gave it up.
async fn furnish(ground: &Ground, clients: &mut Clients, text: &str, events: usize) -> String {
    clients.create_stream("orders", 1).await;
    clients.publish("orders", 0, &vec![text; events]).await;
    clients.create_group("billing", "orders").await;
    let mailer = v1::ConsumerGroup {
        name: "mailer".into(),
        stream: "orders".into(),
        delivery_mode: v1::DeliveryMode::Shared.into(),
        ..Default::default()
    };
    clients.create_group_with(mailer).await;
    let mut member = crate::support::member::Member::join(clients, "mailer", "one").await.expect("joined");
    let event = member.some_events(1).await.remove(0);
    let dead = Outcome::DeadLetter(v1::DeadLetter { reason: text.into(), ..Default::default() });
    assert_eq!(member.settle_one(&event, dead).await, None);
    member.leave().await;
    for group in ["billing", "mailer"] {
        let alert = v1::Alert {
            group: group.into(),
            name: "behind".into(),
            measure: v1::AlertMeasure::LagEvents.into(),
            ..Default::default()
        };
        let request = v1::CreateAlertRequest { alert: Some(alert), ..Default::default() };
        clients.alerts.create_alert(request).await.expect("an alert");
    }
    let client = ground.database.connect().await;
    let sql = "select dead_letter_id::text from eventflow.dead_letter_event where convert_from(payload, 'UTF8') = $1";
    client.query_one(sql, &[&text]).await.expect("a dead letter").get(0)
}

/// Exchanges who has the partitions and groups, in the catalogue and nowhere else.
async fn exchange(client: &Client, one: i64, other: i64) {
    let sql = format!(
        "create temporary table p as select o.partition_id as mine, t.partition_id as theirs
             from eventflow.stream_partition o, eventflow.stream_partition t
             where o.organization_id = {one} and t.organization_id = {other};
         update eventflow.stream_partition set partition_id = -partition_id;
         update eventflow.stream_partition s set partition_id = case -s.partition_id when p.mine then p.theirs else p.mine end
             from p;
         create temporary table g as select o.group_id as mine, t.group_id as theirs
             from eventflow.consumer_group o join eventflow.consumer_group t using (name)
             where o.organization_id = {one} and t.organization_id = {other};
         update eventflow.consumer_group c set organization_id = -c.organization_id;
         update eventflow.consumer_group c
         set organization_id = case -c.organization_id when {one} then {other} else {one} end,
             stream_id = (select s.stream_id from eventflow.stream s
                          where s.organization_id = case -c.organization_id when {one} then {other} else {one} end);
         update eventflow.alert set organization_id = case organization_id when {one} then {other} else {one} end"
    );
    client
        .batch_execute("alter table eventflow.consumer_group drop constraint consumer_group_organization_id_fkey")
        .await
        .expect("no keys for a moment");
    client.batch_execute(&sql).await.expect("exchanged");
}

/// The largest value that an alert has, once all of them were evaluated by what the catalogue says now.
async fn largest_value(client: &Client) -> f64 {
    let now = client.query_one("select clock_timestamp()::text", &[]).await.expect("a time").get::<_, String>(0);
    client.batch_execute("update eventflow.alert set due_at = clock_timestamp()").await.expect("due");
    let look = async {
        loop {
            // poll
            let row = client
                .query_one("select max(value), min(evaluated_at) > $1::text::timestamptz from eventflow.alert", &[&now])
                .await
                .expect("alerts");
            if row.get::<_, Option<bool>>(1) == Some(true) {
                return row.get(0);
            }
        }
    };
    eventflow_testkit::within("alerts evaluated", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_catalogue_that_leads_astray_the_functions_alone_show_and_change_nothing() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let client = ground.database.connect().await;
    let mut victim = Clients::new(&app, &ground.key("acme").await).await;
    let dead_letter = furnish(&ground, &mut victim, SECRET, COUNT).await;
    let key = ground.key("other").await;
    furnish(&ground, &mut Clients::new(&app, &key).await, "their own", 2).await;
    let (acme, other) = (id_of(&client, "acme").await, id_of(&client, "other").await);
    assert_eq!(largest_value(&client).await, COUNT as f64, "the control");
    exchange(&client, acme, other).await;
    assert_eq!(largest_value(&client).await, 0.0, "an alert counts what is its organization's");
    let before = rows(&client, acme).await;
    let astray = ground.broker(&[]).await;
    let channel = channel_to(&astray).await;
    let admin = ground.signed_in(&astray, "other", "eve@example.com", Role::Admin).await;
    let mut wrong = Vec::new();
    for (Row { rpc, request, .. }, method) in all_rows() {
        for group in ["billing", "mailer"] {
            let fresh = format!("fresh-{}", uuid::Uuid::new_v4().simple());
            let request =
                if rpc.ends_with("/DeleteStream") { r#"{"name": "$stream", "force": true}"# } else { request };
            let request = filled(
                request,
                &["none", "none", "orders", group, &fresh, &dead_letter, "behind", &fresh].map(str::to_owned),
            );
            for credential in [&key, &admin] {
                let found = told(&channel, &method, credential, &request, &[]).await;
                // Payloads are shown as text or in base64, whichever a call does.
                let counted = found.contains(&format!("\"{COUNT}\""));
                if counted || found.contains(SECRET) || found.contains("bm9ib2R5IGVsc2Uncy") {
                    wrong.push(format!("{rpc} tells {found}"));
                }
            }
        }
    }
    let after = rows(&client, acme).await;
    wrong.extend(changed(&before, &after));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_sql_is_text_everywhere() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let client = ground.database.connect().await;
    let key = ground.key("acme").await;
    let dead_letter = furnish(&ground, &mut Clients::new(&app, &key).await, "their own", 2).await;
    furnish(&ground, &mut Clients::new(&app, &ground.key("other").await).await, SECRET, 2).await;
    let admin = ground.signed_in(&app, "acme", "ada@example.com", Role::Admin).await;
    let other = id_of(&client, "other").await;
    let (before, channel) = (rows(&client, other).await, channel_to(&app).await);
    let mut wrong = Vec::new();
    for (Row { rpc, request, .. }, method) in all_rows() {
        for text in ["' or '1'='1", "'; drop table eventflow.stream; --", "$1", "\\\\'; select 1/0 --", "%' or 1=1 /*"]
        {
            let everywhere = PLACES.map(|_| text.to_owned());
            let good = [text, text, "orders", "mailer", text, &dead_letter, "behind", text].map(str::to_owned);
            for names in [everywhere, good] {
                // Texts that stand for nothing are meant as well.
                let request = filled(request, &names).replace("\"x\"", &format!("\"{text}\""));
                for credential in [&key, &admin] {
                    let found = told(&channel, &method, credential, &request, &[]).await;
                    if found.contains("Internal") || found.contains(SECRET) {
                        wrong.push(format!("{rpc} with `{text}`: {found}"));
                    }
                }
            }
        }
    }
    wrong.extend(changed(&before, &rows(&client, other).await));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_that_take_turns_on_one_connection_never_see_each_other() {
    let ground = Ground::new().await;
    let app = ground.broker(&[("database.pool_size", "1")]).await;
    let mut callers = Vec::new();
    for organization in ["acme", "other"] {
        let mut clients = Clients::new(&app, &ground.key(organization).await).await;
        clients.create_stream(organization, 1).await;
        callers.push((organization, clients));
    }
    let mut answered = 0;
    for round in 0..500_usize {
        let calls = (0..8_usize).map(|number| {
            let (organization, mut clients) = callers[(round + number) % 2].clone();
            async move {
                let list = clients.streams.list_streams(v1::ListStreamsRequest::default());
                // Some give up at a moment of their own; what they have begun on the connection must not stay.
                let patience = if number % 3 == 0 { (round * 7 + number * 13) % 40 } else { usize::MAX };
                let mut waited = 0;
                let gives_up = std::future::poll_fn(|context| {
                    waited += 1;
                    context.waker().wake_by_ref();
                    if waited > patience { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                });
                let page = tokio::select! {
                    page = list => page.expect("a page").into_inner(),
                    () = gives_up, if patience != usize::MAX => return 0,
                };
                let seen: Vec<&str> = page.streams.iter().map(|stream| stream.name.as_str()).collect();
                assert_eq!(seen, [organization]);
                1
            }
        });
        answered += futures_util::future::join_all(calls).await.into_iter().sum::<usize>();
    }
    assert!((2_500..4_000).contains(&answered), "{answered} of 4,000 were answered: some, and not all, are to give up");
}
