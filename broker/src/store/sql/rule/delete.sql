delete from eventflow.processing_rule where organization_id = $1 and stream_id = $2 and name = $3 returning rule_id
