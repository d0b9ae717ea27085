-- At the end; it is moved to its place afterwards. No row: the name is taken.
insert into eventflow.processing_rule (
    organization_id, stream_id, name, description, position, disabled, filter, action, target, set_headers, remove_headers, fields
)
select $1::bigint, $2::bigint, $3::text, $4::text, coalesce(max(r.position), 0) + 1, $5::boolean, $6::text, $7::text, $8::text,
       $9::text::jsonb, $10::text[], $11::text[]
from eventflow.processing_rule r where r.organization_id = $1 and r.stream_id = $2
on conflict (stream_id, name) do nothing
returning rule_id
