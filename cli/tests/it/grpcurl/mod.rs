//! `docs/grpcurl.md` and `docs/grpcurl-access.md`, run from the page: every command in its order, on a fresh `eventflow dev`, by a client that knows
//! nothing but what server reflection tells it. What the page shows as an answer is in the answer.

mod client;
mod document;
mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use prost_reflect::{DescriptorPool, MethodDescriptor, prost_types::FileDescriptorProto};
use serde_json::Value;
use tonic::Status;

use crate::{dev::Dev, support::Home};
use client::{Server, Version, method};
use document::{Command, Verb};

/// How long a command may take, and how much of a stream is looked through for what is shown.
const LONGEST_CALL: Duration = Duration::from_secs(30);
const SEEN_LINES_MAX: usize = 200;

/// Both pages, one behind the other.
const PAGE: &str =
    concat!(include_str!("../../../../docs/grpcurl.md"), "\n", include_str!("../../../../docs/grpcurl-access.md"));

#[tokio::test]
async fn every_command_of_the_page_answers_what_the_page_shows() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let server = Server::connect(&dev.listen).await;
    let pool = server.descriptors(Version::V1).await;
    let mut failures = String::new();
    let mut said = BTreeMap::from([("$EVENTFLOW_ADMIN_PASSWORD", variable(&home, "EVENTFLOW_ADMIN_PASSWORD"))]);
    for mut command in document::commands(PAGE, &variable(&home, "EVENTFLOW_API_KEY")) {
        if let Verb::Call { data, headers, .. } = &mut command.verb {
            for (name, value) in &said {
                *data = data.replace(name, value);
                headers.iter_mut().for_each(|(_, header)| *header = header.replace(name, value));
            }
        }
        match run(&server, &pool, &command).await {
            Ok(answer) => remember(&mut said, &answer),
            Err(failure) => failures += &format!("`{}`\n{failure}\n\n", command.line),
        }
    }
    assert!(failures.is_empty(), "{failures}");
    dev.stop().await;
}

#[tokio::test]
async fn every_call_of_the_api_is_on_the_page() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let server = Server::connect(&dev.listen).await;
    let (v1, v1alpha) = (server.descriptors(Version::V1).await, server.descriptors(Version::V1Alpha).await);
    dev.stop().await;
    assert!(sorted(&v1) == sorted(&v1alpha), "reflection v1 and v1alpha tell different things");

    let commands = document::commands(PAGE, "");
    let called: BTreeSet<&str> = commands.iter().filter_map(Command::method).collect();
    let streaming = PAGE.split("## The streaming calls").nth(1).unwrap_or_default();
    for service in v1.services().filter(|service| !service.full_name().starts_with("grpc.reflection.")) {
        for method in service.methods() {
            let name = format!("{}/{}", service.full_name(), method.name());
            let unary = !method.is_client_streaming() && !method.is_server_streaming();
            let listed = !unary && streaming.contains(method.name());
            assert!(called.contains(name.as_str()) || listed, "docs/grpcurl.md has no command for `{name}`");
        }
    }
}

/// The checks above can fail: a wrong answer, no key, an unknown thing.
#[tokio::test]
async fn a_command_that_fails_is_noticed() {
    let home = Home::new();
    let dev = Dev::start(&home).await;
    let server = Server::connect(&dev.listen).await;
    let pool = server.descriptors(Version::V1).await;
    let page = |method: &str, headers: &str, shown: &str| {
        let line =
            format!("grpcurl -plaintext {headers} -d '{{\"name\": \"x\"}}' localhost:50051 eventflow.v1.{method}");
        format!("```console\n{line}\n```\n```json\n{shown}\n```\n")
    };
    let with_key = "-H \"authorization: Bearer $EVENTFLOW_API_KEY\"";
    for (page, wrong) in [
        (page("StreamService/GetStream", "", "{}"), "failed with Unauthenticated"),
        (page("StreamService/GetStream", with_key, "{}"), "failed with NotFound"),
        (page("StreamService/GetLimits", with_key, "{}").replace(r#"{"name": "x"}"#, "{}"), ""),
        (page("StreamService/GetLimits", with_key, r#"{"x": 1}"#).replace(r#"{"name": "x"}"#, "{}"), "x is missing"),
    ] {
        let command = &document::commands(&page, &variable(&home, "EVENTFLOW_API_KEY"))[0];
        let outcome = run(&server, &pool, command).await;
        assert_eq!(outcome.is_ok(), wrong.is_empty(), "{outcome:?}");
        assert!(outcome.err().unwrap_or_default().contains(wrong), "{wrong}");
    }
    dev.stop().await;
}

/// What the page says that variables stand for: the newest of their kind.
fn remember(said: &mut BTreeMap<&'static str, String>, answer: &Value) {
    for (name, place) in [
        ("$KEY_ID", "/apiKey/id"),
        ("$CURSOR", "/cursor"),
        ("$SESSION_ID", "/sessionId"),
        ("$ACCESS_TOKEN", "/tokens/accessToken"),
        ("$REFRESH_TOKEN", "/tokens/refreshToken"),
        ("$USER_ID", "/user/id"),
        ("$INVITATION", "/invitation/token"),
    ] {
        if let Some(value) = answer.pointer(place).and_then(Value::as_str) {
            said.insert(name, value.to_owned());
        }
    }
}

fn variable(home: &Home, name: &str) -> String {
    let env = fs::read_to_string(home.path("dev/dev.env")).unwrap();
    let line = env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap();
    line.trim_matches('\'').to_owned()
}

/// The last answer, where the command calls a method.
async fn run(server: &Server, pool: &DescriptorPool, command: &Command) -> Result<Value, String> {
    match &command.verb {
        Verb::List => {
            let services = server.services(Version::V1).await;
            let same = command.shown.lines().eq(services.iter().map(String::as_str));
            if same { Ok(Value::Null) } else { Err(format!("lists {services:#?}")) }
        }
        Verb::Describe(name) => {
            let message = pool.get_message_by_name(name).ok_or_else(|| format!("there is no `{name}`"))?;
            let commented = has_comments(message.parent_file().file_descriptor_proto());
            if commented { Ok(Value::Null) } else { Err("its comments are missing".to_owned()) }
        }
        Verb::Call { method: name, data, headers } => {
            // What is not JSON is no answer, and the failure tells the right one.
            let shown: Value = serde_json::from_str(&command.shown).unwrap_or_default();
            let method = method(pool, name);
            let called = tokio::time::timeout(LONGEST_CALL, call(server, &method, headers, data, &shown)).await;
            let called = called.unwrap_or_else(|_| Err(format!("took longer than {LONGEST_CALL:?}")));
            // A refusal may be what the page shows, as grpcurl prints it.
            match command.shown.lines().find_map(|line| line.trim().strip_prefix("Code: ")) {
                None => called,
                Some(code) => match called {
                    Err(failure) if failure.starts_with(&format!("failed with {code}:")) => Ok(Value::Null),
                    other => Err(format!("was to be refused with {code}: {other:?}")),
                },
            }
        }
    }
}

async fn call(
    server: &Server,
    method: &MethodDescriptor,
    headers: &[(String, String)],
    data: &str,
    shown: &Value,
) -> Result<Value, String> {
    let failed = |status: Status| format!("failed with {:?}: {}", status.code(), status.message());
    let mut answers = server.call(method, headers, data).await.map_err(failed)?;
    let mut seen = String::new();
    while let Some(answer) = answers.next().await.map_err(failed)? {
        let difference = shown::difference(shown, &answer);
        seen += &format!("{answer:#}\n{}\n", difference.as_deref().unwrap_or_default());
        match difference {
            None if method.is_server_streaming() => return Ok(answer),
            None => return answers.next().await.map(|_| answer).map_err(failed),
            // One of its later messages may be the one that is shown.
            Some(_) if seen.lines().count() < SEEN_LINES_MAX => {}
            Some(_) => break,
        }
    }
    Err(format!("answers\n{seen}"))
}

fn has_comments(file: &FileDescriptorProto) -> bool {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.into_iter().any(|location| location.leading_comments.is_some())
}

/// What reflection tells, but for reflection itself, in an order of its own.
fn sorted(pool: &DescriptorPool) -> Vec<FileDescriptorProto> {
    let mut files: Vec<_> = pool.file_descriptor_protos().cloned().collect();
    files.retain(|file| !file.package().starts_with("grpc.reflection."));
    files.sort_by(|a, b| a.name().cmp(b.name()));
    files
}
