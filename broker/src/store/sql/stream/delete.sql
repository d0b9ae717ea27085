update eventflow.stream set deleted_at = clock_timestamp(), updated_at = clock_timestamp()
where organization_id = $1 and stream_id = $2 and deleted_at is null
