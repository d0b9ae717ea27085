update eventflow.rule_pipeline set version = version + 1 where organization_id = $1 and stream_id = $2
