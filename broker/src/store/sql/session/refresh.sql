select session_id, reused from eventflow.refresh_session_v2($1::bytea, $2::bytea, $3::integer, $4::text, $5::text)
