select eventflow.request_reset_v1($1::text, $2::text, $3::bytea, $4::integer, $5::text, $6::text)
