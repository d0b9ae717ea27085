select evaluated, fired, resolved, failed, failure, more from eventflow.evaluate_alerts_v1($1, $2, $3, $4)
