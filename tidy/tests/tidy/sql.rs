//! SQL stands in `broker/src/store` and in `migrations`. This looks for string literals elsewhere that
//! read like a statement.

use crate::sources::{Finding, SourceFile};

const LOOKED_AT: &[&str] = &["broker/src/", "cli/src/", "sdk-rust/src/", "proto/src/"];
const HOME: &str = "broker/src/store/";

/// How a statement starts, and what must follow for it to be one rather than a sentence.
const STATEMENTS: &[(&str, &[&str])] = &[
    ("select ", &[" from ", "(", "select 1"]),
    ("insert into ", &[""]),
    ("update ", &[" set "]),
    ("delete from ", &[""]),
    ("with ", &[" as ("]),
    ("create ", &["create table", "create role", "create schema", "create function", "create database"]),
    ("alter ", &["alter table", "alter role", "alter system", "alter database"]),
    ("drop ", &["drop table", "drop role", "drop schema", "drop database"]),
    ("set ", &["set local", "set role", "set session"]),
    ("listen ", &["listen eventflow"]),
    ("notify ", &["notify eventflow"]),
];

pub fn check(file: &SourceFile) -> Vec<Finding> {
    if !LOOKED_AT.iter().any(|prefix| file.path.starts_with(prefix)) || file.path.starts_with(HOME) {
        return Vec::new();
    }
    let statements = file.masked.literals.iter().filter(|literal| reads_like_sql(&literal.text));
    let fix = "move it to broker/src/store/sql/<entity>/<verb>.sql, and call a function of the `store` room";
    statements.map(|literal| file.finding(literal.line, "SQL outside the store", fix)).collect()
}

fn reads_like_sql(literal: &str) -> bool {
    let text = literal.trim_start_matches(|c: char| "bcr#\"".contains(c)).to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    STATEMENTS.iter().any(|(start, marks)| text.starts_with(start) && marks.iter().any(|mark| text.contains(mark)))
}

#[test]
fn statements_outside_the_store_are_refused() {
    let text = "fn f() { run(\"\n  SELECT id\n  FROM stream\"); run(r#\"update x set y = 1\"#); }";
    assert_eq!(check(&SourceFile::new("broker/src/groups/mod.rs", text)).len(), 2);
    assert!(check(&SourceFile::new("broker/src/store/streams.rs", text)).is_empty());
}

#[test]
fn sentences_are_no_statements() {
    let text = "const A: &str = \"select a stream\"; const B: &str = \"update the SDK\"; // select 1 from x";
    assert!(check(&SourceFile::new("cli/src/main.rs", text)).is_empty());
}
