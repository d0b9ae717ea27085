-- No row: the name is taken.
insert into eventflow.alert (organization_id, group_id, name, description, measure, threshold, hold_ms, webhook_url)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (group_id, name) do nothing
returning alert_id
