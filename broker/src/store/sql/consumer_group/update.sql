-- Null leaves a column as it is. No row: there is no such group.
update eventflow.consumer_group
set description = coalesce($3, description),
    on_truncated = coalesce($4, on_truncated),
    drain_ms = coalesce($5, drain_ms),
    labels = coalesce($6::text::jsonb, labels),
    updated_at = clock_timestamp()
where organization_id = $1 and name = $2
returning group_id
