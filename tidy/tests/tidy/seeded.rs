//! The bugs that the chaos proof seeds into the broker are a patch: it must apply, or the proof does not run.

use std::process::Command;

const PATCH: &str = "chaos/mutants/broker.patch";

/// What git says against the patch, when it does not apply to the tree that stands in `root`.
pub fn check(root: &str) -> Result<(), String> {
    let checked = Command::new("git").current_dir(root).args(["apply", "--check", PATCH]).output();
    let output = checked.map_err(|error| format!("`git` could not be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{PATCH} does not apply any more:\n{why}\nRenew it in a worktree of its own: `git apply --reject {PATCH}`, bring in by hand \
         what was rejected, `git diff -U1 >` the patch. Each piece shows one seeded bug; keep what it does.",
    ))
}

#[test]
fn a_tree_that_the_patch_does_not_fit_is_seen() {
    let away = std::env::temp_dir();
    assert!(check(&away.to_string_lossy()).is_err());
}
