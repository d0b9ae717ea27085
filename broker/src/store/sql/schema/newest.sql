-- The newest version of each event type: what is enforced.
select distinct on (event_type) event_type, version, definition,
       (extract(epoch from created_at) * 1000000)::bigint as created_at
from eventflow.event_schema
where organization_id = $1 and stream_id = $2
order by event_type, version desc
