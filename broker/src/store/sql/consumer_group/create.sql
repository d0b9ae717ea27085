-- No row: the name is taken. A racing creator waits here until the other one has committed.
insert into eventflow.consumer_group (
    organization_id, stream_id, name, description, delivery_mode, on_truncated, drain_ms, labels
) values ($1, $2, $3, $4, 'ordered', $5, $6, $7::text::jsonb)
on conflict (organization_id, name) do nothing
returning group_id
