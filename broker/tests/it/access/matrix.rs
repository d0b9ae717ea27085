//! Every method that the descriptors list, with every kind of credential, against one table of what must come back.

use super::dynamic::{code, methods};
use crate::support::{Clients, Ground};
use eventflow_broker::domain::access::Role;
use eventflow_broker::identity::{ApiKey, Environment};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// The table. Its first row names the columns; what stands in a cell is the code, `-` for OK. The last column is a request that
/// a caller who may do everything is not refused.
const TABLE: &str = include_str!("matrix.txt");

pub struct Row<'a> {
    pub rpc: &'a str,
    codes: Vec<&'a str>,
    pub request: &'a str,
}

pub fn table() -> (Vec<&'static str>, Vec<Row<'static>>) {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let columns: Vec<&str> = lines.next().expect("a head").split_whitespace().skip(1).collect();
    let columns = columns[..columns.len() - 1].to_vec();
    let row = |line: &'static str| {
        let (cells, request) = line.split_at(line.find('{').expect("a request"));
        let mut cells = cells.split_whitespace();
        let rpc = cells.next().expect("a method");
        Row { rpc, codes: cells.collect(), request }
    };
    (columns, lines.map(row).collect())
}

fn meant(cell: &str) -> Code {
    match cell {
        "-" => Code::Ok,
        "unauthenticated" => Code::Unauthenticated,
        "denied" => Code::PermissionDenied,
        "absent" => Code::NotFound,
        "precondition" => Code::FailedPrecondition,
        "invalid" => Code::InvalidArgument,
        other => panic!("`{other}` is no code of the table"),
    }
}

/// One credential a column.
async fn credentials(ground: &Ground, app: &App) -> BTreeMap<&'static str, Option<String>> {
    let all = ["publish", "consume", "read", "manage"];
    let (expired, revoked) = (ground.key("acme").await, ground.key("acme").await);
    let end = |column: &str, key: &str| {
        let id = ApiKey::parse(key).expect("a key").id();
        format!("update eventflow.api_key set {column} = clock_timestamp() where key_id = '{id}'")
    };
    let client = ground.database.connect().await;
    client.batch_execute(&end("expires_at", &expired)).await.expect("expired");
    client.batch_execute(&end("revoked_at", &revoked)).await.expect("revoked");
    let in_streams = |pattern: &str| all.map(|scope| format!("{scope}:{pattern}"));
    let (within, elsewhere) = (in_streams("own.*"), in_streams("elsewhere.*"));
    BTreeMap::from([
        ("none", None),
        ("malformed", Some(ApiKey::generate(Environment::Test).reveal() + "x")),
        ("expired", Some(expired)),
        ("revoked", Some(revoked)),
        ("foreign", Some(ground.key("other").await)),
        ("publish", Some(ground.key_for("acme", &["publish"]).await)),
        ("consume", Some(ground.key_for("acme", &["consume"]).await)),
        ("read", Some(ground.key_for("acme", &["read"]).await)),
        ("manage", Some(ground.key_for("acme", &["manage"]).await)),
        ("within", Some(ground.key_for("acme", &within.each_ref().map(String::as_str)).await)),
        ("viewer", Some(ground.signed_in(app, "acme", "viewer@example.com", Role::Viewer).await)),
        ("editor", Some(ground.signed_in(app, "acme", "editor@example.com", Role::Editor).await)),
        ("admin", Some(ground.signed_in(app, "acme", "admin@example.com", Role::Admin).await)),
        ("elsewhere", Some(ground.key_for("acme", &elsewhere.each_ref().map(String::as_str)).await)),
    ])
}

/// Objects of `acme` that a cell may use up.
pub struct Objects {
    clients: Clients,
    admin: Clients,
    database: tokio_postgres::Client,
    made: usize,
}

impl Objects {
    pub async fn new(ground: &Ground, app: &App) -> Self {
        let admin = ground.signed_in(app, "acme", "maker@example.com", Role::Admin).await;
        let clients = Clients::new(app, &ground.key("acme").await).await;
        Self { clients, admin: Clients::new(app, &admin).await, database: ground.database.connect().await, made: 0 }
    }

    /// The request with names of new objects in it.
    pub async fn fill(&mut self, request: &str) -> String {
        self.made += 1;
        let number = self.made;
        let (stream, group) = (format!("own.s{number}"), format!("own.g{number}"));
        if request.contains("$stream") || request.contains("$group") {
            self.clients.create_stream(&stream, 1).await;
            self.clients.publish(&stream, 0, &["an event"]).await;
        }
        if request.contains("$group") {
            self.clients.create_group(&group, &stream).await;
        }
        let name = format!("r{number}");
        if request.contains("$rule") {
            let rule = v1::Rule { stream: stream.clone(), name: name.clone(), ..Default::default() };
            let create = v1::CreateRuleRequest { rule: Some(rule), ..Default::default() };
            self.clients.rules.create_rule(create).await.expect("a rule");
        }
        if request.contains("$alert") {
            let alert = v1::Alert {
                group: group.clone(),
                name: name.clone(),
                measure: v1::AlertMeasure::LagEvents.into(),
                webhook_url: "https://localhost:1/".into(),
                ..Default::default()
            };
            let create = v1::CreateAlertRequest { alert: Some(alert), ..Default::default() };
            self.clients.alerts.create_alert(create).await.expect("an alert");
        }
        let user = if request.contains("$user") { self.user(number).await } else { String::new() };
        let key = if request.contains("$key") { self.key().await } else { String::new() };
        let letter = if request.contains("$letter") { self.letter(&group).await } else { String::new() };
        let redrive = if request.contains("$redrive") { self.redrive(&group).await } else { String::new() };
        request
            .replace("$redrive", &redrive)
            .replace("$key", &key)
            .replace("$user", &user)
            .replace("$letter", &letter)
            .replace("$stream", &stream)
            .replace("$group", &group)
            .replace("$rule", &name)
            .replace("$alert", &name)
            .replace("$fresh", &format!("own.f{number}"))
            .replace("$uuid", &uuid::Uuid::new_v4().to_string())
    }
}

impl Objects {
    /// The id of a user who was invited.
    async fn user(&mut self, number: usize) -> String {
        let user =
            v1::User { email: format!("u{number}@example.com"), role: v1::Role::Viewer.into(), ..Default::default() };
        let request = v1::InviteUserRequest { user: Some(user), ..Default::default() };
        self.admin.users.invite_user(request).await.expect("invited").into_inner().user.expect("a user").id
    }

    /// The id of a dead letter of a group.
    async fn letter(&self, group: &str) -> String {
        let sql = "insert into eventflow.dead_letter_event (
                organization_id, group_id, partition_id, event_offset, attempts, reason, error_class, history, appended_at, payload)
            select o.organization_id, o.group_id, o.partition_id, 0, 1, 'not valid', '', '[]'::jsonb, clock_timestamp(), 'an event'::bytea
            from eventflow.consumer_offset o join eventflow.consumer_group g on g.group_id = o.group_id
            where g.name = $1
            returning dead_letter_id";
        self.database.query_one(sql, &[&group]).await.expect("a dead letter").get::<_, uuid::Uuid>(0).to_string()
    }

    /// The id of a redrive of a group, of which nothing is left.
    async fn redrive(&self, group: &str) -> String {
        let sql = "insert into eventflow.redrive (organization_id, group_id, actor, events, last_due_at)
            select g.organization_id, g.group_id, 'user:nobody', 1, clock_timestamp() from eventflow.consumer_group g where g.name = $1
            returning redrive_id";
        self.database.query_one(sql, &[&group]).await.expect("a redrive").get::<_, uuid::Uuid>(0).to_string()
    }

    /// The id of a key that may manage.
    async fn key(&mut self) -> String {
        let grants = vec![v1::Grant { scope: v1::Scope::Manage.into(), streams: Vec::new() }];
        let api_key = Some(v1::ApiKey { grants, ..Default::default() });
        let request = v1::CreateApiKeyRequest { api_key, ..Default::default() };
        let made = self.clients.keys.create_api_key(request).await.expect("a key").into_inner();
        made.api_key.expect("a key").id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_every_credential_as_the_table_says() {
    let ground = Ground::new().await;
    let app = ground.broker(&[("mail.url", "log:")]).await;
    let channel: Channel =
        Endpoint::from_shared(format!("http://{}", app.grpc_address())).expect("a url").connect().await.expect("there");
    let credentials = credentials(&ground, &app).await;
    let mut objects = Objects::new(&ground, &app).await;
    let methods: BTreeMap<_, _> = methods().into_iter().collect();
    let (columns, rows) = table();
    assert_eq!(columns.iter().collect::<BTreeSet<_>>(), credentials.keys().collect());
    let mut wrong = Vec::new();
    for Row { rpc, codes, request } in rows {
        let method =
            methods.get(rpc).unwrap_or_else(|| panic!("the table has a row for `{rpc}`, which does not exist"));
        assert_eq!(codes.len(), columns.len(), "cells of `{rpc}`");
        for (column, cell) in columns.iter().zip(codes) {
            let request = objects.fill(request).await;
            let found = code(&channel, method, credentials[column].as_deref(), &request).await;
            if found != meant(cell) {
                wrong.push(format!("{rpc} with `{column}`: {found:?}, not {:?}", meant(cell)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_method_has_a_row_in_the_table() {
    let (_, rows) = table();
    let known: BTreeSet<&str> = rows.iter().map(|row| row.rpc).collect();
    assert_eq!(known.len(), rows.len(), "a method has two rows");
    let without: Vec<String> =
        methods().into_iter().map(|(rpc, _)| rpc).filter(|rpc| !known.contains(rpc.as_str())).collect();
    assert!(without.is_empty(), "add to broker/tests/it/access/matrix.txt who may call {}", without.join(", "));
}
