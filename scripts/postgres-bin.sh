#!/usr/bin/env bash
# Prints the directory of the newest Postgres server binaries on this machine, 15 or later, and
# fails silently when there is none. EVENTFLOW_POSTGRES_BIN overrides the search.
set -euo pipefail

oldest_version=15

major_version() {
    "$1/postgres" --version 2>/dev/null | sed -nE 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/p'
}

candidates() {
    if [ -n "${EVENTFLOW_POSTGRES_BIN:-}" ]; then
        printf '%s\n' "$EVENTFLOW_POSTGRES_BIN"
        return
    fi
    # Debian and Ubuntu keep each version apart and put none of the server's programs on the PATH.
    printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin
    if command -v pg_config >/dev/null; then pg_config --bindir; fi
    if command -v postgres >/dev/null; then dirname "$(command -v postgres)"; fi
}

best_version=0
best_dir=
while read -r dir; do
    if [ ! -x "$dir/postgres" ] || [ ! -x "$dir/initdb" ]; then continue; fi
    version=$(major_version "$dir")
    if [ "${version:-0}" -ge "$oldest_version" ] && [ "$version" -gt "$best_version" ]; then
        best_version=$version
        best_dir=$dir
    fi
done < <(candidates)

[ -n "$best_dir" ] || exit 1
printf '%s\n' "$best_dir"
