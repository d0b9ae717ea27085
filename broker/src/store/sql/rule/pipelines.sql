select organization_id, stream_id, group_id, stream, consumer_group, version, settings_at from eventflow.rule_pipelines_v1()
