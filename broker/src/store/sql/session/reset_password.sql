select eventflow.reset_password_v1($1::bytea, $2::text, $3::text, $4::text)
