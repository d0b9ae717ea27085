-- Of all organizations: the streams of a broker belong to many.
select session_id, role from eventflow.good_sessions_v1($1::uuid[])
