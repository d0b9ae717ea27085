select eventflow.add_signing_key_v1($1::text, $2::bytea, $3::bytea)
