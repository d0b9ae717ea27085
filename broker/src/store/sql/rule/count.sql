-- In the order of the rules, so that two brokers never wait for each other. A rule that is gone is not counted.
insert into eventflow.rule_count as c (
    rule_id, organization_id, processed_events, matched_events, copied_events, failed_attempts, last_failure, last_failure_at
)
select r.rule_id, r.organization_id, n.processed, n.matched, n.copied, n.failed, n.failure,
       case when n.failed > 0 then clock_timestamp() end
from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
     as n(rule_id, processed, matched, copied, failed, failure)
join eventflow.processing_rule r on r.rule_id = n.rule_id and r.organization_id = $1
order by r.rule_id
on conflict (rule_id) do update
set processed_events = c.processed_events + excluded.processed_events,
    matched_events = c.matched_events + excluded.matched_events,
    copied_events = c.copied_events + excluded.copied_events,
    failed_attempts = c.failed_attempts + excluded.failed_attempts,
    last_failure = case when excluded.failed_attempts > 0 then excluded.last_failure else c.last_failure end,
    last_failure_at = coalesce(excluded.last_failure_at, c.last_failure_at)
