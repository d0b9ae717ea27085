#!/usr/bin/env bash
# Makes sure that what a build and a test run need is on this machine: Rust, a C compiler, the
# server programs of Postgres 15 or later, and the program of Redis, which is optional. Silent and
# quick when all is there. On Debian and Ubuntu it installs what is missing when it may (as root, or
# through sudo without a password); otherwise it prints the command to run and fails; without Redis
# it goes on, and the tests that need one say that they did not run. It starts no server.
#
#   scripts/setup.sh           what building and testing need
#   scripts/setup.sh --lint    also rustfmt and clippy
#   scripts/setup.sh --ci      also cargo-deny, which it builds; here Redis must be there
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oldest_rust=1.88 # rust-version in Cargo.toml
deny_version=0.20.2

die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

need_rust() {
    command -v cargo >/dev/null || die "Rust is missing; install it from https://rustup.rs, then open a new shell"
    local found
    found=$(rustc --version | sed -nE 's/^rustc ([0-9]+\.[0-9]+).*/\1/p')
    if [ "$(printf '%s\n' "$oldest_rust" "$found" | sort -V | head -n 1)" != "$oldest_rust" ]; then
        die "Rust $found is too old, $oldest_rust or later is needed; run: rustup update stable"
    fi
}

install_packages() {
    local packages="$*" sudo=()
    local by_hand="sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages"
    if ! command -v apt-get >/dev/null; then
        die "this machine lacks: $packages" "install a C compiler and the server of Postgres 15 or later with its package manager," \
            "and set EVENTFLOW_POSTGRES_BIN to the directory of \`initdb\` when it is not found by itself"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            die "this machine lacks: $packages" "run: $by_hand"
        fi
        sudo=(sudo -n)
    fi
    printf 'setup: installing %s\n' "$packages" >&2
    # shellcheck disable=SC2016 # the inner shell expands them
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive bash -euc '
        apt_install() { apt-get install -y -q --no-install-recommends "$@"; }
        apt-get update -q
        case " $* " in *" postgresql "*)
            # The package would start a cluster on port 5432, which nobody has asked for. Its switch
            # comes with postgresql-common, so that goes first; a choice already made stays.
            apt_install postgresql-common
            conf=/etc/postgresql-common/createcluster.conf
            grep -qsE "^ *create_main_cluster" "$conf" || printf "create_main_cluster = false\n" >>"$conf"
        esac
        apt_install "$@"
    ' install "$@" >&2 || die "installing failed (see above); run: $by_hand"
    "$here/postgres-bin.sh" >/dev/null || die "the Postgres of this system's packages is older than 15;" \
        "see https://wiki.postgresql.org/wiki/Apt for newer ones"
}

# Debian's `redis-tools` holds the server's program, under the name `redis-check-rdb`, and no service
# that would be started on port 6379; the tests call it by the server's name.
need_redis() {
    local name
    for name in redis-server valkey-server redis-check-rdb valkey-check-rdb; do
        if command -v "$name" >/dev/null; then return; fi
    done
    if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
        if (install_packages redis-tools); then return; fi
    fi
    if [ "${1:-}" = --ci ]; then die "this machine lacks redis-server, and every test must run here"; fi
    printf 'setup: no redis-server: the tests that need one will not run (on Debian: apt-get install redis-tools)\n' >&2
}

need_lints() {
    local missing=()
    cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
    if [ ${#missing[@]} -gt 0 ]; then
        die "the Rust toolchain lacks ${missing[*]}; run: rustup component add ${missing[*]}"
    fi
}

need_deny() {
    if cargo deny --version >/dev/null 2>&1; then return; fi
    printf 'setup: building cargo-deny %s (once; a minute or two)\n' "$deny_version" >&2
    # Unoptimized, it builds in 80 s on two cores and checks in a second all the same. Its target
    # directory is its own: a shared one would mix its dependencies' features with ours.
    local scratch
    scratch=$(mktemp -d)
    CARGO_TARGET_DIR="$scratch" CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_INCREMENTAL=false \
        cargo install cargo-deny --version "$deny_version" --locked --debug --no-default-features --quiet \
        || { rm -rf "$scratch"; die "cargo-deny could not be built (see above)"; }
    rm -rf "$scratch"
}

case "${1:-}" in
    '' | --lint | --ci) ;;
    *) die "unknown argument \`$1\`; usage: scripts/setup.sh [--lint | --ci]" ;;
esac

need_rust
missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev) # ring and zstd compile C
"$here/postgres-bin.sh" >/dev/null || missing+=(postgresql)
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
need_redis "${1:-}"
case "${1:-}" in
    --lint) need_lints ;;
    --ci) need_lints && need_deny ;;
esac
