select a.alert_id, s.name as stream, g.name as consumer_group, a.name, a.description, a.measure, a.threshold, a.hold_ms, a.webhook_url,
       a.secret_version, (extract(epoch from a.secret_rotated_at) * 1000000)::bigint as secret_rotated_at, a.state,
       (extract(epoch from a.since) * 1000000)::bigint as since, a.value,
       (extract(epoch from a.evaluated_at) * 1000000)::bigint as evaluated_at,
       a.delivery_type, coalesce(a.delivery_result, '') as delivery_result, a.delivery_attempts, a.delivery_status, a.delivery_error,
       (extract(epoch from a.delivery_at) * 1000000)::bigint as delivery_at,
       (extract(epoch from a.delivery_retry_at) * 1000000)::bigint as delivery_retry_at,
       a.version, (extract(epoch from a.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from a.updated_at) * 1000000)::bigint as updated_at
from eventflow.alert a
join eventflow.consumer_group g on g.group_id = a.group_id and g.organization_id = a.organization_id
join eventflow.stream s on s.stream_id = g.stream_id
where a.organization_id = $1 and a.group_id = $2 and a.name = $3
