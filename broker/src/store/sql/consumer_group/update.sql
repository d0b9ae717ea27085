-- Null leaves a column as it is. No row: there is no such group.
update eventflow.consumer_group
set description = coalesce($3, description),
    on_truncated = coalesce($4, on_truncated),
    drain_ms = coalesce($5, drain_ms),
    labels = coalesce($6::text::jsonb, labels),
    ack_timeout_ms = coalesce($7, ack_timeout_ms),
    retry_initial_ms = coalesce($8, retry_initial_ms),
    retry_multiplier = coalesce($9, retry_multiplier),
    retry_max_ms = coalesce($10, retry_max_ms),
    max_attempts = coalesce($11, max_attempts),
    on_failure = coalesce($12, on_failure),
    filter = coalesce($13, filter),
    -- The same filter again is no change.
    filter_version = filter_version + ($13 is not null and $13 <> filter)::integer,
    updated_at = clock_timestamp()
where organization_id = $1 and name = $2
returning group_id
