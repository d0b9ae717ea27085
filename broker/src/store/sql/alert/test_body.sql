select eventflow.alert_test_body_v1($1, $2, $3) as body
