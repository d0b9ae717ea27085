//! Left-overs, words of other products, promises that are too large, and tests that wait by the clock.

use crate::sources::{Finding, SourceFile};

/// Code that is not finished, and the fix. Looked for outside comments and literals.
const LEFT_OVERS: &[(&str, &str)] = &[
    ("todo!(", "write it, or leave it out"),
    ("unimplemented!(", "write it, or leave it out"),
    ("dbg!(", "use `tracing`, or delete it"),
    ("#[ignore", "make the test reliable, or delete it"),
    ("allow(dead_code)", "delete the code; what only one build uses carries `#[expect(…, reason = …)]`"),
    ("allow(unused", "delete what is unused; what only one build uses carries `#[expect(…, reason = …)]`"),
];

const OTHER_WORD: &str = "topic";
const BARE_PROMISE: &str = "exactly-once";
const PROMISES_KEPT: &[&str] = &["append", "effects"];

/// These rules speak about the words themselves.
const NOT_LOOKED_AT: &str = "tidy/";

pub fn check(file: &SourceFile) -> Vec<Finding> {
    if file.path.starts_with(NOT_LOOKED_AT) {
        return Vec::new();
    }
    let mut findings = left_overs(file);
    findings.extend(other_words(file));
    findings.extend(bare_promises(file));
    if file.is_rust() && file.is_test() {
        findings.extend(sleeps(file));
        findings.extend(clock_assertions(file));
    }
    findings
}

fn left_overs(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code) in file.code_lines() {
        for (word, fix) in LEFT_OVERS {
            if code.contains(word) {
                findings.push(file.finding(line, format!("`{word}` is left over"), *fix));
            }
        }
    }
    findings
}

/// The word for a stream is `stream`. A line that speaks of Kafka may use Kafka's word.
fn other_words(file: &SourceFile) -> Vec<Finding> {
    let ours = file.lines().map(|(line, text)| (line, text.to_lowercase()));
    let theirs = ours.filter(|(_, text)| has_other_word(text) && !text.contains("kafka"));
    theirs
        .map(|(line, _)| file.finding(line, format!("`{OTHER_WORD}` is a word of other products"), "say `stream`"))
        .collect()
}

fn has_other_word(text: &str) -> bool {
    text.match_indices(OTHER_WORD).any(|(at, word)| {
        let after = &text[at + word.len()..];
        let after = after.strip_prefix('s').unwrap_or(after);
        !text[..at].ends_with(char::is_alphabetic) && !after.starts_with(char::is_alphabetic)
    })
}

/// The promise has a name for each of its halves; alone it is one that nobody can keep.
fn bare_promises(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let spoken = line.to_lowercase().replace("exactly once", BARE_PROMISE);
        for (at, _) in spoken.match_indices(BARE_PROMISE) {
            let mut after = spoken[at + BARE_PROMISE.len()..].trim().to_owned();
            if after.is_empty() {
                after = lines
                    .get(index + 1)
                    .unwrap_or(&"")
                    .trim_start_matches(|c: char| "/*!#-> ".contains(c))
                    .to_lowercase();
            }
            if !PROMISES_KEPT.iter().any(|kept| after.starts_with(kept)) && !is_plain_english(line, at) {
                let fix = "promise `exactly-once append` or `exactly-once effects`, and at-least-once delivery";
                findings.push(file.finding(index + 1, format!("a bare `{BARE_PROMISE}`"), fix));
            }
        }
    }
    findings
}

/// "Called exactly once" is English; with a hyphen, or as the object of a promise, it is marketing.
fn is_plain_english(line: &str, at: usize) -> bool {
    line.get(at..at + BARE_PROMISE.len()).is_some_and(|words| words == "exactly once")
}

fn sleeps(file: &SourceFile) -> Vec<Finding> {
    let slept =
        file.code_lines().filter(|(line, code)| code.contains("sleep(") && !says(file, *line, *line, "// poll"));
    let fix = "wait for the event itself (a probe, a signal); a loop that must poll says `// poll` there";
    slept.map(|(line, _)| file.finding(line, "a test sleeps", fix)).collect()
}

/// A stated bound may be asserted where the code says which: `// bound: TTL + 1 s`.
fn clock_assertions(file: &SourceFile) -> Vec<Finding> {
    let code = &file.masked.code;
    let mut findings = Vec::new();
    for (at, _) in code.match_indices("assert") {
        let macro_call = |opening: &usize| code[at..at + opening].ends_with('!');
        let Some(opening) = code[at..].find('(').filter(macro_call) else {
            continue;
        };
        let end = at + opening + closing_parenthesis(&code[at + opening..]);
        let reads_clock = ["elapsed(", "Instant::now"].iter().any(|word| code[at..end].contains(word));
        let (first, last) = (file.line_of(at), file.line_of(end));
        if reads_clock && !says(file, first, last, "// bound:") {
            let fix = "measure in bench/; where a promise states a bound, or a loop must end, \
                       say so there: `// bound: TTL + 1 s`";
            findings.push(file.finding(first, "a test asserts on the clock", fix));
        }
    }
    findings
}

/// Whether a remark stands on one of these lines, or on the line above them.
fn says(file: &SourceFile, first: usize, last: usize, remark: &str) -> bool {
    let above = first.saturating_sub(1);
    file.lines().any(|(line, text)| (above..=last).contains(&line) && text.contains(remark))
}

fn closing_parenthesis(code: &str) -> usize {
    let mut depth = 0;
    for (at, character) in code.char_indices() {
        depth += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&SourceFile::new(path, text)).len()
    }

    #[test]
    fn left_overs_are_refused_in_code_only() {
        let text =
            "fn f() { todo!(); dbg!(1); }\n#[allow(dead_code)]\n#[ignore = \"slow\"]\n#![allow(unused_imports)]\n";
        assert_eq!(findings("cli/src/main.rs", text), 5);
        assert_eq!(findings("cli/src/main.rs", "// todo!()\nconst A: &str = \"dbg!(\";"), 0);
    }

    #[test]
    fn the_word_for_a_stream_is_stream() {
        assert_eq!(findings("README.md", "Create a topic.\nList Topics.\n"), 2);
        assert_eq!(findings("cli/src/main.rs", "let topic_name = 1;"), 1);
        assert_eq!(findings("README.md", "What Kafka calls a topic is a stream. Topical, isotopic."), 0);
    }

    #[test]
    fn a_bare_promise_is_refused() {
        assert_eq!(findings("README.md", "We have exactly-once delivery.\nExactly-once!"), 2);
        assert_eq!(findings("README.md", "exactly-once append for idempotent producers; exactly-once\n/// effects"), 0);
        assert_eq!(findings("broker/src/lib.rs", "// The guard is dropped exactly once."), 0);
    }

    #[test]
    fn a_test_may_not_sleep() {
        assert_eq!(findings("broker/tests/it/main.rs", "fn f() { sleep(d).await; }"), 1);
        assert_eq!(findings("broker/tests/it/main.rs", "fn f() { sleep(d).await; } // poll"), 0);
        assert_eq!(findings("broker/src/jobs/mod.rs", "fn f() { sleep(d).await; }"), 0);
    }

    #[test]
    fn a_test_may_not_assert_on_the_clock() {
        let text = "fn f() {\n    assert!(\n        start.elapsed() < MAX\n    );\n}";
        assert_eq!(findings("sdk-rust/tests/it/main.rs", text), 1);
        assert_eq!(findings("sdk-rust/tests/it/main.rs", &text.replace("assert!(", "assert!( // bound: 300 ms")), 0);
    }
}
