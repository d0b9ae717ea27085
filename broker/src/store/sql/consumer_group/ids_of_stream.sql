select group_id from eventflow.consumer_group where organization_id = $1 and stream_id = $2 order by group_id
