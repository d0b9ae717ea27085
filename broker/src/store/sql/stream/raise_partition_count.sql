-- Keys go elsewhere from now on, which the routing version tells producers.
update eventflow.stream
set partition_count = $3, routing_version = routing_version + 1, updated_at = clock_timestamp()
where organization_id = $1 and stream_id = $2
