//! Which room of `broker/src` may name which. Calls go one way: transport, service, storage.
//!
//! A line that fits no row of the table is a design question: change the table together with
//! ARCHITECTURE.md, and say in the commit message why.

use crate::sources::{Finding, SourceFile};

/// What `runtime` hands down to the rooms that it starts; the rest of it starts them.
const HANDLES: &[&str] = &[
    "runtime::clock",
    "runtime::tasks",
    "runtime::readiness",
    "runtime::shutdown",
    "runtime::Condition",
    "runtime::Kind",
    "runtime::Readiness",
    "runtime::Tasks",
];

/// A room, and what it may import from the other rooms. `handles` are those of the runtime, above.
const ROOMS: &[(&str, &str)] = &[
    // Pure values and decisions.
    ("domain", ""),
    // Storage, and what only remembers.
    ("store", "domain telemetry"),
    ("tail", "domain telemetry"),
    ("redis", "domain config"),
    ("limits", "domain redis telemetry handles"),
    ("mail", "domain telemetry config handles"),
    // Services.
    ("identity", "domain store mail telemetry handles"),
    ("catalogue", "domain store identity telemetry handles"),
    ("schemas", "domain store identity catalogue telemetry handles"),
    ("publish", "domain store tail limits identity catalogue schemas telemetry handles"),
    ("groups", "domain store identity catalogue telemetry handles"),
    ("delivery", "domain store tail limits identity catalogue groups telemetry handles"),
    ("rules", "domain store identity catalogue publish delivery telemetry handles"),
    ("alerts", "domain store identity catalogue telemetry handles"),
    ("jobs", "domain store tail limits catalogue groups publish telemetry handles"),
    // Transport: thin, and never storage.
    ("grpc", "domain identity limits catalogue schemas publish groups delivery rules alerts telemetry config handles"),
    ("http", "domain telemetry config handles"),
    // What holds it together.
    ("telemetry", "domain config"),
    ("config", "domain"),
    (
        "runtime",
        "domain store tail redis limits mail identity catalogue schemas publish groups delivery rules alerts jobs grpc http telemetry config",
    ),
];

/// Crates, or parts of one, that only some rooms may name, and why.
const CRATES: &[(&str, &str, &str)] = &[
    ("tonic", "grpc runtime", "wire types stop at the `grpc` room"),
    ("tonic_types", "grpc", "wire types stop at the `grpc` room"),
    ("prost", "grpc", "wire types stop at the `grpc` room"),
    ("prost_types", "grpc", "wire types stop at the `grpc` room"),
    ("eventflow_proto::v1", "grpc", "wire types stop at `grpc/convert`"),
    ("tokio_postgres", "store runtime", "only the `store` room talks to Postgres"),
    ("deadpool_postgres", "store runtime", "only the `store` room talks to Postgres"),
    ("fred", "redis", "only the `redis` room talks to Redis"),
    ("lettre", "mail", "only the `mail` room writes letters"),
    ("jsonschema", "domain", "definitions and validators are values of `domain::schema`"),
    ("postgres_types", "store", "only the `store` room talks to Postgres"),
];

/// `domain` is pure: no tasks, no I/O, no clock.
const NEVER_IN_DOMAIN: &[&str] =
    &["tokio", "hyper", "axum", "metrics", "std::fs", "std::net", "std::time::Instant", "std::time::SystemTime"];

pub fn check(file: &SourceFile) -> Vec<Finding> {
    let Some(room) = room_of(&file.path) else {
        return Vec::new();
    };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        let fix = "move the file into a room of the table in tidy/tests/tidy/rooms.rs, or add the room there and to ARCHITECTURE.md";
        return vec![file.finding(1, format!("`{room}` is not a room of the broker"), fix)];
    };
    let mut findings = Vec::new();
    for (at, path) in paths_from(&file.masked.code, "crate") {
        if !path.is_empty() && !within(&path, room) && !may_import(allowed, &path) {
            let what = format!("room `{room}` imports `crate::{path}`");
            let fix = format!(
                "`{room}` may import {}: pass the value in, or move the code to the room that may",
                list(allowed)
            );
            findings.push(file.finding(file.line_of(at), what, fix));
        }
    }
    for (name, rooms, why) in CRATES {
        if !rooms.split(' ').any(|allowed| allowed == room) {
            findings.extend(named(file, name, &format!("{why} ({})", list(rooms))));
        }
    }
    if room == "domain" {
        let fix = "keep `domain` pure (no tasks, no I/O, no clock): take the value as an argument";
        findings.extend(NEVER_IN_DOMAIN.iter().flat_map(|name| named(file, name, fix)));
    }
    if let Some(at) = file.masked.code.find("super::super::") {
        findings.push(file.finding(file.line_of(at), "a path climbs two floors", "write it from `crate::`"));
    }
    findings
}

fn may_import(allowed: &str, path: &str) -> bool {
    allowed.split_whitespace().any(|room| match room {
        "handles" => HANDLES.iter().any(|handle| within(path, handle)),
        room => within(path, room),
    })
}

fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("broker/src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && room != "main" && room != "bin").then_some(room)
}

/// Findings for each place where a file names `name`, a crate or a path in one. The tests at a file's
/// end may: they check one room's values against another's.
fn named(file: &SourceFile, name: &str, fix: &str) -> Vec<Finding> {
    let (first, inner) = name.split_once("::").unwrap_or((name, ""));
    let product = file.masked.code.split("#[cfg(test)]").next().unwrap_or_default();
    let hits = paths_from(product, first).into_iter().filter(|(_, path)| within(path, inner));
    hits.map(|(at, _)| file.finding(file.line_of(at), format!("`{name}` is used here"), fix)).collect()
}

fn within(path: &str, part: &str) -> bool {
    part.is_empty() || path == part || path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"))
}

/// Every path that starts with `first::` in the code, without `first`, groups taken apart.
fn paths_from(code: &str, first: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(first) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let inside_a_path = code[..at].ends_with("::") && !code[..at].ends_with(" ::");
        if before.is_alphanumeric() || before == '_' || inside_a_path {
            continue;
        }
        if let Some(rest) = code[at + first.len()..].strip_prefix("::") {
            let mut tails = Vec::new();
            expand(rest, "", &mut tails);
            found.extend(tails.into_iter().map(|tail| (at, tail)));
        }
    }
    found
}

/// Takes a use tree apart, such as `a::{b, c::d}`, and returns what stands after it.
fn expand<'a>(tree: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with('}') {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            rest = expand(rest, prefix, paths);
            let end = rest.find([',', '}']).unwrap_or(rest.len()); // over an ` as name`
            rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
        }
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    let path = match (prefix, name) {
        (_, "self" | "") => prefix.to_owned(),
        ("", name) => name.to_owned(),
        (prefix, name) => format!("{prefix}::{name}"),
    };
    match rest.strip_prefix("::") {
        Some(inner) if !inner.starts_with('<') => expand(inner, &path, paths),
        _ => {
            paths.push(path);
            rest.strip_prefix('*').unwrap_or(rest)
        }
    }
}

fn list(names: &str) -> String {
    match names {
        "" => "no other room".to_owned(),
        names => format!("`{}`", names.replace(' ', "`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&SourceFile::new(path, text)).into_iter().map(|f| format!("{} {}", f.place, f.what)).collect()
    }

    #[test]
    fn a_room_may_not_import_what_the_table_does_not_allow() {
        let text = "use crate::{domain::Event, store::{self, log}};\nfn f() { crate::grpc::serve() }\n";
        assert_eq!(
            findings("broker/src/tail/cache.rs", text),
            [
                "broker/src/tail/cache.rs:1 room `tail` imports `crate::store`",
                "broker/src/tail/cache.rs:1 room `tail` imports `crate::store::log`",
                "broker/src/tail/cache.rs:2 room `tail` imports `crate::grpc::serve`",
            ]
        );
    }

    #[test]
    fn a_room_may_import_itself_its_row_and_parts_of_a_room() {
        let text =
            "use crate::publish::Lane;\nuse crate::domain::Event as E;\nuse crate::runtime::{clock, tasks::Tasks};\n";
        assert!(findings("broker/src/publish/lane.rs", text).is_empty());
        assert_eq!(findings("broker/src/publish/lane.rs", "use crate::runtime::App;").len(), 1);
    }

    #[test]
    fn words_in_comments_and_strings_are_no_imports() {
        assert!(findings("broker/src/tail/mod.rs", "// crate::store\nconst S: &str = \"crate::store\";").is_empty());
    }

    #[test]
    fn wire_types_postgres_and_clocks_stay_where_they_belong() {
        assert_eq!(findings("broker/src/groups/mod.rs", "use tonic::Status;").len(), 1);
        assert_eq!(findings("broker/src/delivery/mod.rs", "use eventflow_proto::{limits, v1::Event};").len(), 1);
        assert!(findings("broker/src/domain/mod.rs", "pub use eventflow_proto::limits;").is_empty());
        assert_eq!(findings("broker/src/domain/lease.rs", "fn f() { std::time::Instant::now(); }").len(), 1);
        assert_eq!(findings("broker/src/publish/lane.rs", "use tokio_postgres::Client;").len(), 1);
    }

    #[test]
    fn tests_at_the_end_of_a_file_may_name_any_crate() {
        let text = "#[cfg(test)]\nmod tests { use prost::Message; }";
        assert!(findings("broker/src/domain/event.rs", text).is_empty());
    }

    #[test]
    fn an_unknown_room_is_refused() {
        assert_eq!(findings("broker/src/helpers.rs", "").len(), 1);
    }
}
