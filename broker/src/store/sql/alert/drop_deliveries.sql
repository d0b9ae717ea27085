delete from eventflow.alert_delivery where organization_id = $1 and alert_id = $2
