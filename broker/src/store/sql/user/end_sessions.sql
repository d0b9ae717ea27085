update eventflow.user_session s set ended_at = clock_timestamp(), end_reason = $4
where s.organization_id = $1 and s.user_id = $2 and s.ended_at is null and s.session_id is distinct from $3
returning s.session_id
