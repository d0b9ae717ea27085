-- Null leaves a column as it is. Evaluated anew at once. No row: there is no such alert.
update eventflow.alert
set description = coalesce($4, description),
    measure = coalesce($5, measure),
    threshold = coalesce($6, threshold),
    hold_ms = coalesce($7, hold_ms),
    webhook_url = coalesce($8, webhook_url),
    version = version + 1,
    updated_at = clock_timestamp(),
    due_at = clock_timestamp()
where organization_id = $1 and group_id = $2 and name = $3
returning alert_id
