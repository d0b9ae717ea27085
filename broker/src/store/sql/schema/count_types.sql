select count(distinct event_type) as types from eventflow.event_schema where organization_id = $1 and stream_id = $2
