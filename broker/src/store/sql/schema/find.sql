-- Version 0 is the newest.
select event_type, version, definition, (extract(epoch from created_at) * 1000000)::bigint as created_at
from eventflow.event_schema
where organization_id = $1 and stream_id = $2 and event_type = $3 and ($4::integer = 0 or version = $4)
order by version desc limit 1
