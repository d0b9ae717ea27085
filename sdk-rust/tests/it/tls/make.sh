#!/usr/bin/env bash
# Makes the certificates beside it anew. They are for tests only, their keys are public, and they last a century.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

authority() { # file, name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$2" \
        -keyout "$1.key" -out "$1.pem" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

server() { # file, subject alternative names, and how long it lasts
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -out "$1.pem" "${@:3}" \
        -extfile <(printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "$2")
    rm "$1.csr"
}

authority authority "EventFlow test authority"
authority stranger "Somebody else's authority"
server here DNS:localhost,IP:127.0.0.1 -days 36500
server elsewhere DNS:elsewhere.example -days 36500
server expired DNS:localhost,IP:127.0.0.1 -days 0
rm -f authority.key authority.srl stranger.key
