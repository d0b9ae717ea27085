select r.name, r.disabled, coalesce(c.processed_events, 0) as processed_events, coalesce(c.matched_events, 0) as matched_events,
       coalesce(c.copied_events, 0) as copied_events, coalesce(c.failed_attempts, 0) as failed_attempts,
       coalesce(c.last_failure, '') as last_failure,
       (extract(epoch from c.last_failure_at) * 1000000)::bigint as last_failure_at
from eventflow.processing_rule r
left join eventflow.rule_count c on c.rule_id = r.rule_id and c.organization_id = r.organization_id
where r.organization_id = $1 and r.stream_id = $2
order by r.position
