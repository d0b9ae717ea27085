#!/usr/bin/env bash
# Proves the checker: seeds bugs on purpose and sees that each is caught.
#
#   scripts/chaos-mutants.sh [ARGUMENTS OF `eventflow-chaos mutants NAME`…]
#
# Bugs in SQL are seeded into the database of a run. Bugs in the broker are a patch, applied in a worktree of its own and
# built there: the product's tree never holds them. A patch that does not apply is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
chaos=$target/debug/eventflow-chaos
mutant=$target/debug/eventflow-mutant
tree=$(mktemp -d "${TMPDIR:-/tmp}/eventflow-mutants.XXXXXX")
trap 'git worktree remove --force "$tree" >/dev/null 2>&1 || rm -rf "$tree"; git worktree prune' EXIT

git worktree add --quiet --detach --force "$tree" HEAD
git -C "$tree" apply --index "$PWD/chaos/mutants/broker.patch"
# Another version: to cargo the crates of the worktree are others than those of this tree, which it would take for the same.
# Dependencies are shared with the product's build.
sed -i '0,/^version = "[^"]*/s//&+mutant/' "$tree/Cargo.toml"
(cd "$tree" && CARGO_TARGET_DIR=$target cargo build --workspace --offline --quiet --bin eventflow)
mv "$target/debug/eventflow" "$mutant"
cargo build --workspace --locked --quiet --bins

failed=0
"$chaos" mutants all "$@" || failed=1
for name in $("$chaos" mutants --list-patched); do
    CHAOS_MUTANT=$name "$chaos" mutants "$name" --broker "$mutant" "$@" || failed=1
done
exit "$failed"
