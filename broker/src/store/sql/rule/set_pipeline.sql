insert into eventflow.rule_pipeline (organization_id, stream_id, group_id) values ($1, $2, $3)
on conflict (stream_id) do update set group_id = excluded.group_id, version = rule_pipeline.version + 1
