delete from eventflow.alert where organization_id = $1 and group_id = $2 and name = $3 returning alert_id
