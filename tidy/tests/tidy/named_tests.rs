//! Pages that say which test shows something name tests that there are.

use crate::sources::{Finding, SourceFile};
use std::collections::HashSet;

/// Their tables name tests in their last column, each as `` `a_sentence_of_words` ``.
const PAGES: [&str; 2] = ["docs/security.md", "docs/guarantees.md"];

pub fn check(files: &[SourceFile]) -> Vec<Finding> {
    let tests: HashSet<&str> = files.iter().filter(|file| file.is_rust()).flat_map(|file| tests(&file.text)).collect();
    let mut findings = Vec::new();
    for page in files.iter().filter(|file| PAGES.contains(&file.path.as_str())) {
        for (line, text) in page.lines() {
            for name in named(text).filter(|name| !tests.contains(name)) {
                let fix = "name the test that shows it, or write it";
                findings.push(page.finding(line, format!("`{name}` is no test"), fix));
            }
        }
    }
    findings
}

/// Names in the last column of a row of three.
fn named(row: &str) -> impl Iterator<Item = &str> {
    let cells: Vec<&str> = row.trim().trim_matches('|').split(" | ").collect();
    let last = if row.starts_with('|') && cells.len() == 3 { cells[2] } else { "" };
    last.split('`').skip(1).step_by(2).filter(|word| word.contains('_'))
}

/// Functions that stand behind an attribute that ends with `test`, or takes arguments.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
            return None;
        }
        if !is_test || line.starts_with("#[") || line.starts_with("//") {
            return None;
        }
        is_test = false;
        let name = line.trim_start_matches("async ").strip_prefix("fn ")?;
        name.split('(').next()
    })
}

#[cfg(test)]
mod tests_of_the_rule {
    use super::*;

    #[test]
    fn a_name_that_is_no_test_is_found() {
        let page =
            "| what | back | test |\n|---|---|---|\n| a | `NOT_FOUND` | `it_holds`, `it_is_gone` |\n| b `x_y` | c |\n";
        let test = "#[tokio::test(flavor = \"multi_thread\")]\nasync fn it_holds() {}\nfn it_is_gone() {}\n";
        let files = [SourceFile::new(PAGES[1], page), SourceFile::new("broker/tests/it/x.rs", test)];
        let findings: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("`it_is_gone` is no test"), "{findings:?}");
    }
}
