//! No path of somebody's machine: it means nothing on any other.

use crate::sources::{Finding, SourceFile};

/// Directories that only some machines have at their root.
const ROOTS: &[&str] =
    &["home", "root", "Users", "work", "farm", "workspace", "workspaces", "builds", "mnt", "media", "data"];

pub fn check(file: &SourceFile) -> Vec<Finding> {
    let fix = "write the path from the repository's root, or take it from the environment or an argument";
    let hits = file.lines().filter_map(|(line, text)| {
        let root = ROOTS.iter().find(|root| names_root(text, root))?;
        Some(file.finding(line, format!("a path under `{}{root}` of some machine", '/'), fix))
    });
    hits.collect()
}

/// Homebrew on Linux stands there on every machine that has it.
const EVERYWHERE: &str = "linuxbrew/";

fn names_root(text: &str, root: &str) -> bool {
    let needle = format!("/{root}/");
    text.match_indices(&needle).any(|(at, _)| {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let inside = &text[at + needle.len()..];
        let after = inside.chars().next().unwrap_or(' ');
        !(before.is_alphanumeric() || "._-/}~>*$)".contains(before))
            && (after.is_alphanumeric() || after == '.')
            && !inside.starts_with(EVERYWHERE)
    })
}

#[test]
fn a_path_of_a_machine_is_refused() {
    let path = ["", "home", "ada", "eventflow"].join("/");
    assert_eq!(check(&SourceFile::new("README.md", &format!("\ncd {path}"))).len(), 1);
    assert!(
        check(&SourceFile::new("README.md", "see docs/home/page.md, $DIR/work/x and /var/lib/eventflow/")).is_empty()
    );
}
