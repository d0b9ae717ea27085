update eventflow.alert
set secret_version = secret_version + 1, secret_rotated_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
where organization_id = $1 and group_id = $2 and name = $3
returning alert_id
