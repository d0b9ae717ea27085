select a.audit_id, (extract(epoch from a.occurred_at) * 1000000)::bigint as occurred_at, a.actor, coalesce(u.email, '') as actor_email,
       a.action, a.object, a.detail, a.result, a.reason, a.address, a.request_id, a.times
from eventflow.audit_event a
-- An actor who is gone has no address.
left join eventflow.user_account u on u.organization_id = a.organization_id and 'user:' || u.user_id = a.actor
where a.organization_id = $1
  and a.audit_id < $2
  and ($3::text is null or a.actor = $3 or u.email = lower($3))
  and ($4::text is null or a.action = $4)
  and ($5::text is null or a.object = $5)
  and ($6::text is null or a.result = $6)
  and ($7::bigint is null or a.occurred_at >= to_timestamp($7 / 1000000.0))
  and ($8::bigint is null or a.occurred_at < to_timestamp($8 / 1000000.0))
order by a.audit_id desc
limit $9
