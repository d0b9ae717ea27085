-- Brokers compare the revision of the stream with that of the validators that they keep.
update eventflow.stream set schema_revision = schema_revision + 1, updated_at = clock_timestamp()
where organization_id = $1 and stream_id = $2 and deleted_at is null
