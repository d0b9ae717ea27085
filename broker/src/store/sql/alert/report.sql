select eventflow.report_alert_delivery_v1($1, $2, $3, $4, $5, $6, $7, $8) as kept
