select eventflow.password_hash_v1($1::bigint, $2::uuid)
