#!/usr/bin/env bash
# Installs what `make compare` can race EventFlow against, from Debian's packages, where it may (as root, or through
# sudo without a password). What cannot be installed is named and left out. It starts no server.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/setup.sh" # Postgres and Redis

if command -v nats-server >/dev/null; then exit 0; fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
if ! command -v apt-get >/dev/null || ! "${sudo[@]}" true 2>/dev/null; then
    printf 'compare: left out: NATS (no apt-get, or no right to use it)\n' >&2
    exit 0
fi
# A package that starts its server on installation would take the port and the processor time: not here.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
"${sudo[@]}" apt-get update -q >&2 || true
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nats-server >&2 \
    || printf 'compare: left out: NATS (its package could not be installed, see above)\n' >&2
