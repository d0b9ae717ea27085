-- No row: the name is taken. A racing creator waits here until the other one has committed.
insert into eventflow.stream (
    organization_id, name, description, partition_count, retention_max_age_us, retention_max_bytes, max_event_bytes, labels,
    schema_enforcement, schema_compatibility, key_retention_us, track_keys
) values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11, $12)
on conflict (organization_id, name) where deleted_at is null do nothing
returning stream_id
