select evaluated, fired, resolved, failed, failure from eventflow.evaluate_alerts_v1($1, $2, $3)
