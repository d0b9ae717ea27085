//! Reads the repository's own files and refuses what the house rules forbid. Each rule has a room:
//!
//! * [`rooms`]: which room of the broker may import which, and which crates.
//! * [`reasons`]: every error reason is produced by some test.
//! * [`named_tests`]: a page that names tests names some that there are.
//! * [`sizes`]: how long a file and a function may be.
//! * [`words`]: left-overs, words of other products, promises that are too large, sleeps in tests.
//! * [`sql`]: SQL stands in the broker's `store` and in `migrations`.
//! * [`machine_paths`]: no path of somebody's machine.
//! * [`seeded`]: the bugs that the chaos proof seeds into the broker still apply.
//!
//! A rule is a function from files to findings, and every finding says the fix. Rules are shown
//! able to fail by tests beside them, on files made of strings.

mod machine_paths;
mod mask;
mod named_tests;
mod reasons;
mod rooms;
mod seeded;
mod sizes;
mod sources;
mod sql;
mod words;

use sources::{Finding, SourceFile, repository_files};

fn no_findings(rule: fn(&SourceFile) -> Vec<Finding>) {
    let files = repository_files();
    assert!(files.len() > 20, "only {} files found: the walk is broken", files.len());
    let findings: Vec<String> = files.iter().flat_map(rule).map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "{} findings:\n\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn the_seeded_bugs_of_the_chaos_proof_still_apply() {
    let applies = seeded::check(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    assert!(applies.is_ok(), "{}", applies.unwrap_err());
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    no_findings(rooms::check);
}

#[test]
fn every_error_reason_is_produced_by_some_test_and_explained() {
    let findings: Vec<String> = reasons::check(&repository_files()).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn tests_that_a_page_names_exist() {
    let findings: Vec<String> = named_tests::check(&repository_files()).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n\n{}\n", findings.len(), findings.join("\n"));
}

#[test]
fn files_and_functions_stay_small() {
    no_findings(sizes::check);
}

#[test]
fn words_are_ours_and_nothing_is_left_over() {
    no_findings(words::check);
}

#[test]
fn sql_stays_in_the_store() {
    no_findings(sql::check);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    no_findings(machine_paths::check);
}
