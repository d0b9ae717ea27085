select g.group_id, g.organization_id, g.name, g.stream_id, s.name as stream, g.description, g.on_truncated, g.drain_ms,
       g.delivery_mode, g.key_order, g.ack_timeout_ms, g.retry_initial_ms, g.retry_multiplier, g.retry_max_ms, g.max_attempts,
       g.on_failure, g.filter, g.filter_version,
       exists (select from eventflow.rule_pipeline p where p.group_id = g.group_id) as managed,
       g.labels::text as labels,
       (extract(epoch from g.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from g.updated_at) * 1000000)::bigint as updated_at,
       coalesce(m.generation, 0) as generation, coalesce(m.paused, false) as paused, coalesce(m.members, 0) as members
from eventflow.consumer_group g
join eventflow.stream s using (stream_id)
left join lateral eventflow.group_summary_v1($1, array[g.group_id]) m on true
where g.organization_id = $1 and g.name = $2
