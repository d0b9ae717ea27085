select k as key from eventflow.known_keys_v1($1, $2, $3) as k
