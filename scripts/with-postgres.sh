#!/usr/bin/env bash
# shellcheck disable=SC2317,SC2329 # functions that a trap calls
# Runs a command beside a Postgres of its own: scripts/with-postgres.sh cargo test --workspace
#
# The server is empty, listens on a unix socket only, keeps nothing (fsync=off), and is gone with
# its files when the command ends, however it ends. The command finds it through
# EVENTFLOW_TEST_DATABASE_URL and exits with its own status.
set -euo pipefail
# Tests open hundreds of connections, on both sides and side by side.
ulimit -S -n "$(ulimit -H -n)"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=/tmp/eventflow-test # Not TMPDIR: a socket's path ends at 107 bytes, and `postgres` must get in.

die() {
    printf 'with-postgres: %s\n' "$*" >&2
    exit 1
}

[ $# -gt 0 ] || die "give a command, for example: scripts/with-postgres.sh cargo test --workspace"
bin=$("$here/postgres-bin.sh") || die "no Postgres 15 or later found; run scripts/setup.sh"

# Postgres refuses to run as root, so root lends it the system user that its package made.
run_as=()
die_with_us=()
if command -v setpriv >/dev/null; then die_with_us=(setpriv --pdeathsig QUIT); fi
if [ "$(id -u)" -eq 0 ]; then
    id postgres >/dev/null 2>&1 || die "there is no \`postgres\` user to run the server as; run scripts/setup.sh, or run this as an ordinary user"
    command -v setpriv >/dev/null || die "setpriv is missing; install util-linux, or run this as an ordinary user"
    run_as=(setpriv --reuid postgres --regid postgres --init-groups)
    die_with_us=("${run_as[@]}" --pdeathsig QUIT)
fi
# A session of its own, so that Ctrl-C reaches the command first and the server last.
if command -v setsid >/dev/null; then die_with_us=(setsid "${die_with_us[@]}"); fi

# SIGKILL leaves no time to clean up: the server dies by its death signal, the next run sweeps its files.
sweep_abandoned() {
    local dir owner
    for dir in "$prefix".*; do
        if [ ! -O "$dir" ] || [ -L "$dir" ] || [ ! -r "$dir/owner.pid" ]; then continue; fi
        read -r owner <"$dir/owner.pid" || continue
        kill -0 "$owner" 2>/dev/null || rm -rf "$dir"
    done
}

server=
command_pid=
root_dir=

stop_command() {
    [ -n "$command_pid" ] || return 0
    kill -TERM -- "-$command_pid" 2>/dev/null || return 0
    for _ in $(seq 50); do # 5 s to stop in order
        kill -0 -- "-$command_pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$command_pid" 2>/dev/null || true
}

stop_server() {
    if [ -n "$server" ]; then
        kill -QUIT "$server" 2>/dev/null || true # immediate: nothing in there is worth a checkpoint
        wait "$server" 2>/dev/null || true
    fi
    if [ -n "$root_dir" ]; then rm -rf "$root_dir"; fi
}

finish() {
    local status=$?
    trap - EXIT
    trap '' HUP INT TERM
    stop_command
    stop_server
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

sweep_abandoned
root_dir=$(mktemp -d "$prefix.XXXXXX")
echo $$ >"$root_dir/owner.pid"
chmod 711 "$root_dir" # `postgres` passes through to a directory of its own
mkdir -m 700 "$root_dir/pg"
if [ "$(id -u)" -eq 0 ]; then chown postgres "$root_dir/pg"; fi

start_server() {
    cd "$root_dir/pg"
    ${run_as[@]+"${run_as[@]}"} "$bin/initdb" --pgdata data --username postgres --auth trust --encoding UTF8 \
        --locale C.UTF-8 --data-checksums --no-sync >initdb.log 2>&1 || return 1
    cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$root_dir/pg'
max_connections = 300
fsync = off
shared_buffers = 256MB
max_wal_size = 4GB
timezone = 'UTC'
log_timezone = 'UTC'
CONF
    ${die_with_us[@]+"${die_with_us[@]}"} "$bin/postgres" -D data </dev/null >server.log 2>&1 &
    server=$!
    for _ in $(seq 300); do # 30 s on a busy machine
        "$bin/pg_isready" -q -h "$root_dir/pg" -U postgres -d postgres && return 0
        kill -0 "$server" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

started_in=$PWD
if ! start_server; then
    tail -n 20 "$root_dir"/pg/initdb.log "$root_dir"/pg/server.log >&2 2>/dev/null || true
    die "Postgres did not start (its last words are above)"
fi
cd "$started_in"

export EVENTFLOW_TEST_DATABASE_URL="postgresql:///postgres?host=$root_dir/pg&user=postgres"

# At a terminal, Ctrl-C reaches the command by itself. Elsewhere the command gets a process group of
# its own, so that a signal to this script stops it and whatever it has started.
status=0
if [ -t 0 ]; then
    "$@" || status=$?
else
    set -m
    "$@" <&0 &
    command_pid=$!
    set +m
    wait "$command_pid" || status=$?
    command_pid=
fi
exit "$status"
