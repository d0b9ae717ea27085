//! How long a file and a function may be.

use crate::sources::{Finding, SourceFile};

const FUNCTION_LINES_MAX: usize = 70;

/// The first row that fits a path decides; the last one fits all code.
const FILE_LINES_MAX: &[(&str, usize)] = &[
    ("ARCHITECTURE.md", 400),
    ("CONTRIBUTING.md", 200),
    ("docs/adr/", 80),
    ("migrations/schema.sql", usize::MAX),
    ("CHANGELOG.md", usize::MAX),
    // A command for every unary call, in an order in which each succeeds: one page, however many calls there are.
    ("docs/grpcurl.md", usize::MAX),
    ("", 500),
];

pub fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    let budget = FILE_LINES_MAX.iter().find(|(prefix, _)| file.path.starts_with(prefix));
    if let Some((_, max)) = budget.filter(|(_, max)| lines > *max) {
        findings.push(file.finding(
            *max,
            format!("the file has {lines} lines"),
            format!("split it by verb or by noun; at most {max}"),
        ));
    }
    for function in functions(&file.masked.code) {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!("`{}` has {} lines", function.name, function.lines);
            let fix = format!("give its steps names; at most {FUNCTION_LINES_MAX}");
            findings.push(file.finding(file.line_of(function.start), what, fix));
        }
    }
    findings
}

struct Function<'a> {
    name: &'a str,
    start: usize,
    lines: usize,
}

fn functions(code: &str) -> Vec<Function<'_>> {
    let starts = code.match_indices("fn ").map(|(at, _)| at);
    let words = starts.filter(|at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    words
        .filter_map(|start| {
            let name = code[start + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
            let body = start + body_start(&code[start..])?;
            let end = body + matching_brace(&code[body..]);
            (!name.is_empty()).then(|| Function { name, start, lines: code[start..end].matches('\n').count() + 1 })
        })
        .collect()
}

/// Where the body's brace is; none for a declaration without a body.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in signature.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(body: &str) -> usize {
    let mut depth = 0;
    for (at, character) in body.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> SourceFile {
        let body = "    step('}'); // }\n".repeat(lines - 2);
        SourceFile::new(
            "cli/src/main.rs",
            &format!("trait T {{ fn declared(&self); }}\nfn f(a: [u8; 2]) {{\n{body}}}\n"),
        )
    }

    #[test]
    fn a_function_over_the_limit_is_refused() {
        assert!(check(&function_of(70)).is_empty());
        let findings = check(&function_of(71));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].place.as_str(), findings[0].what.as_str()), ("cli/src/main.rs:2", "`f` has 71 lines"));
    }

    #[test]
    fn a_file_over_its_limit_is_refused() {
        assert!(check(&SourceFile::new("broker/src/lib.rs", &"\n".repeat(500))).is_empty());
        assert_eq!(check(&SourceFile::new("broker/src/lib.rs", &"\n".repeat(501))).len(), 1);
        assert_eq!(check(&SourceFile::new("docs/adr/001-x.md", &"\n".repeat(81))).len(), 1);
    }
}
