select eventflow.set_password_v1($1::bigint, $2::uuid, $3::text, $4::text)
