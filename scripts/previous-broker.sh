#!/usr/bin/env bash
# Builds the broker of the commit that scripts/previous-broker names, beside the new one, for the test of a rolling
# upgrade. It is built once: the binary is kept by commit, and third-party crates are those of `make test`. Without that
# commit in this clone it says so and builds nothing.
#
#   scripts/previous-broker.sh                  builds it, unless it is there
#   scripts/previous-broker.sh --raise COMMIT   records another commit
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
record=scripts/previous-broker

case "${1:-}" in
    '') ;;
    --raise)
        commit=$(git rev-parse --verify --quiet "${2:?name a commit}^{commit}") || { echo "\`$2\` is no commit" >&2; exit 1; }
        sed -i.bak -E "s/^[0-9a-f]{40}$/$commit/" "$record" && rm "$record.bak"
        git log -1 --format='the previous broker is now that of %h (%s)' "$commit"
        exit ;;
    *) echo "usage: scripts/previous-broker.sh [--raise COMMIT]" >&2; exit 1 ;;
esac

commit=$(grep -E '^[0-9a-f]{40}$' "$record")
short=${commit:0:7}
target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
binary=$target/debug/previous/$commit/eventflow
if [ -x "$binary" ]; then exit; fi

if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
    echo "skipped: the previous broker (commit $short is not in this clone; \`git fetch --unshallow\` gets it)"
    exit
fi

# A folder of its own for each commit: cargo tells crates apart by their path, and compares times with files, not content.
source=$target/debug/previous/$commit/source
rm -rf "$target/debug/previous"
mkdir -p "$source"
git archive "$commit" | tar -x -C "$source"

# Another name, so that the new binary stays where it is, and another version, so that people can tell them apart.
sed -i.bak -E 's/^name = "eventflow"$/name = "eventflow-previous"/' "$source/cli/Cargo.toml"
sed -i.bak -E "s/^version = \"([^\"+]*)\"$/version = \"\1+$short\"/" "$source/Cargo.toml"
sed -i.bak -E "/^name = \"eventflow/{n;s/^version = \"([^\"+]*)\"$/version = \"\1+$short\"/;}" "$source/Cargo.lock"

# With a test, so that third-party crates have the features that they have in `make test`.
cargo build --manifest-path "$source/Cargo.toml" --target-dir "$target" --workspace --locked --quiet \
    --bin eventflow-previous --test tidy
mv "$target/debug/eventflow-previous" "$binary"
rm -rf "$source"
