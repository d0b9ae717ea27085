select eventflow.logout_v2($1::bytea, $2::text, $3::text)
