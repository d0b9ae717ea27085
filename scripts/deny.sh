#!/usr/bin/env bash
# Checks the dependencies against deny.toml. The advisory database is used when this machine has one
# and is never downloaded; `cargo deny fetch db` gets it.
set -euo pipefail

cargo deny --locked --log-level warn check bans licenses sources

shopt -s nullglob
databases=("${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/)
if [ ${#databases[@]} -gt 0 ]; then
    cargo deny --locked --log-level warn check --disable-fetch advisories
else
    echo "skipped: advisories (no advisory database on this machine; \`cargo deny fetch db\` gets it)"
fi
