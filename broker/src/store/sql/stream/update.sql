-- Null leaves a column as it is. No row: there is no such stream.
update eventflow.stream
set description = coalesce($3, description),
    retention_max_age_us = coalesce($4, retention_max_age_us),
    retention_max_bytes = coalesce($5, retention_max_bytes),
    max_event_bytes = coalesce($6, max_event_bytes),
    labels = coalesce($7::text::jsonb, labels),
    schema_enforcement = coalesce($8, schema_enforcement),
    schema_compatibility = coalesce($9, schema_compatibility),
    key_retention_us = coalesce($10, key_retention_us),
    updated_at = clock_timestamp()
where organization_id = $1 and name = $2 and deleted_at is null
returning stream_id
