-- From behind ($4, $5); nothing stands before the empty type's version 0.
select s.event_type, s.version, s.definition, (extract(epoch from s.created_at) * 1000000)::bigint as created_at
from eventflow.event_schema s
where s.organization_id = $1 and s.stream_id = $2
  and ($3::text is null or s.event_type = $3)
  and (s.event_type, s.version) > ($4::text, $5::integer)
  -- The newest ones only, when that is asked for.
  and (not $6::boolean or not exists (
      select 1 from eventflow.event_schema n
      where n.stream_id = s.stream_id and n.event_type = s.event_type and n.version > s.version))
order by s.event_type, s.version limit $7
