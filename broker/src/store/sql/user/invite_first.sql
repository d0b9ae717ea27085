select eventflow.invite_user_v1($1::text, $2::text, $3::text, $4::bytea, $5::integer)
