-- What would be lost with the group.
select coalesce(sum(retries + dead_letters), 0)::bigint as events from eventflow.outcome_counts_v1($1, $2)
