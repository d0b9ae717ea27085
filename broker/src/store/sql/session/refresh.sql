select session_id, reused from eventflow.refresh_session_v1($1::bytea, $2::bytea, $3::integer)
