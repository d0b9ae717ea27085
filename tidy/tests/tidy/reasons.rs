//! Every error reason is produced by some test of the broker, and explained in the reference.
//!
//! Tests of the client run against a broker that is made up, so they do not count.

use crate::sources::{Finding, SourceFile};

const DECLARED: &str = "broker/src/domain/error.rs";
const REFERENCE: &str = "docs/errors.md";
const TESTS: &[&str] = &["broker/tests/", "cli/tests/"];

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(declared) = files.iter().find(|file| file.path == DECLARED) else {
        return Vec::new();
    };
    let reasons = declared_reasons(declared);
    assert!(!reasons.is_empty(), "no reasons found in {DECLARED}: the rule is broken");
    let mut findings = Vec::new();
    for (line, reason) in reasons {
        let named = |file: &&SourceFile| names(&file.text, &reason);
        let tests = files.iter().filter(|file| TESTS.iter().any(|folder| file.path.starts_with(folder)));
        if tests.filter(|file| file.is_rust()).find(named).is_none() {
            let fix = "provoke it in broker/tests/it/reasons.rs, or delete the reason";
            findings.push(declared.finding(line, format!("no test produces `{reason}`"), fix));
        }
        if files.iter().filter(|file| file.path == REFERENCE).find(named).is_none() {
            let fix = format!("add its row to {REFERENCE}");
            findings.push(declared.finding(line, format!("`{reason}` is not explained"), fix));
        }
    }
    findings
}

/// Lines such as `StreamNotFound = "STREAM_NOT_FOUND", NotFound, "…";` inside `reasons! { … }`.
fn declared_reasons(file: &SourceFile) -> Vec<(usize, String)> {
    let lines = file.lines().skip_while(|(_, line)| !line.starts_with("reasons! {"));
    let inside = lines.take_while(|(_, line)| !line.starts_with('}'));
    inside.filter_map(|(at, line)| Some((at, line.split_once(" = \"")?.1.split('"').next()?.to_owned()))).collect()
}

/// Whether a text has the reason as a word of its own.
fn names(text: &str, reason: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(reason).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + reason.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(test: &str, reference: &str) -> Vec<String> {
        let declared = "reasons! {\n    A = \"GONE\", NotFound, \"x.\";\n    B = \"GONE_TOO\", NotFound, \"y.\";\n}\n";
        let files = [
            SourceFile::new(DECLARED, declared),
            SourceFile::new("broker/tests/it/x.rs", test),
            SourceFile::new("sdk-rust/tests/it/x.rs", "\"GONE\" \"GONE_TOO\""),
            SourceFile::new(REFERENCE, reference),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_reason_that_no_test_of_the_broker_names_is_found() {
        assert_eq!(findings("\"GONE\" \"GONE_TOO\"", "`GONE` `GONE_TOO`").len(), 0);
        let found = findings("\"GONE_TOO\"", "`GONE` `GONE_TOO`");
        assert!(found.len() == 1 && found[0].contains("no test produces `GONE`"), "{found:?}");
        let found = findings("error[GONE] GONE_TOO", "`GONE`");
        assert!(found.len() == 1 && found[0].contains("`GONE_TOO` is not explained"), "{found:?}");
    }
}
