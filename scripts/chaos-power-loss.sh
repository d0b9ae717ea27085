#!/usr/bin/env bash
# Cuts the power: Postgres runs with a preloaded shim that remembers what every unflushed write replaced; then everything is
# killed, those writes are taken back, and everything starts again. Nothing acknowledged may be lost. The same with fsync=off
# must lose events, or the instrument proves nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

chaos=${CARGO_TARGET_DIR:-target}/debug/eventflow-chaos
bin=$(scripts/postgres-bin.sh)
dir=$(mktemp -d "${TMPDIR:-/tmp}/eventflow-power.XXXXXX")
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir -m 777 "$dir/undo"
mkdir "$dir/bin"
cc -O2 -Wall -Wextra -shared -fPIC -o "$dir/forget.so" chaos/power-loss/forget.c -ldl
for program in "$bin"/*; do ln -s "$program" "$dir/bin/"; done
rm "$dir/bin/postgres"
cat >"$dir/bin/postgres" <<WRAPPER
#!/bin/sh
export LD_PRELOAD=$dir/forget.so CHAOS_UNDO=$dir/undo CHAOS_UNDO_OF=/postgres/
exec $bin/postgres "\$@"
WRAPPER
chmod 755 "$dir/bin/postgres"

export CHAOS_UNDO=$dir/undo PATH=$dir/bin:$PATH
echo 'durable: nothing acknowledged may be lost'
"$chaos" --fault 'power lost' --all "$@"
rm -f "$dir"/undo/*
echo 'fsync=off: the same must lose events'
status=0
"$chaos" --fault 'power lost' --all --unsafe "$@" || status=$?
if [ "$status" -ne 1 ]; then
    echo "the run without fsync ended with $status, not with a violation: the instrument proves nothing" >&2
    exit 1
fi
