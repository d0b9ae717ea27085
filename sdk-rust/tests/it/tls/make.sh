#!/usr/bin/env bash
# Makes the certificates beside it anew. They are for tests only, their keys are public, and they last a century.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

authority() { # file, name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$2" \
        -keyout "$1.key" -out "$1.pem" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

leaf() { # file, subject alternative names, what for, and how long it lasts
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -out "$1.pem" "${@:4}" \
        -extfile <(printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=%s\n' "$2" "$3")
    rm "$1.csr"
}

authority authority "EventFlow test authority"
authority stranger "Somebody else's authority"
leaf here DNS:localhost,IP:127.0.0.1 serverAuth -days 36500
leaf elsewhere DNS:elsewhere.example serverAuth -days 36500
leaf expired DNS:localhost,IP:127.0.0.1 serverAuth -days 0
leaf client DNS:client.example clientAuth -days 36500
rm -f authority.key authority.srl stranger.key
