select delivery_id, organization_id, alert_id, attempts, body, url, secret_version, secret_age_s
from eventflow.take_alert_deliveries_v1($1, $2, $3)
