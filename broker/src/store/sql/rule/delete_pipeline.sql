delete from eventflow.rule_pipeline where organization_id = $1 and stream_id = $2
