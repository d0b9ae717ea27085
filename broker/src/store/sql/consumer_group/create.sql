-- No row: the name is taken. A racing creator waits here until the other one has committed.
insert into eventflow.consumer_group (
    organization_id, stream_id, name, description, on_truncated, drain_ms, labels,
    delivery_mode, ack_timeout_ms, retry_initial_ms, retry_multiplier, retry_max_ms, max_attempts, on_failure,
    filter, filter_version, key_order
) values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9, $10, $11, $12, $13, $14, $15::text, ($15::text <> '')::integer, $16)
on conflict (organization_id, name) do nothing
returning group_id
