select name from eventflow.consumer_group where organization_id = $1 and stream_id = $2 order by name
