insert into eventflow.event_schema (stream_id, event_type, version, organization_id, definition)
values ($2, $3, $4, $1, $5)
