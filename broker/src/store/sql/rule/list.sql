select r.rule_id, s.name as stream, r.name, r.description, r.position, r.disabled, r.filter, r.action, r.target,
       r.set_headers::text as set_headers, r.remove_headers, r.fields, r.version,
       (extract(epoch from r.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from r.updated_at) * 1000000)::bigint as updated_at
from eventflow.processing_rule r
join eventflow.stream s using (stream_id)
where r.organization_id = $1 and r.stream_id = $2
order by r.position
