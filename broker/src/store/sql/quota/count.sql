select (select count(*) from eventflow.stream where organization_id = $1 and deleted_at is null) as streams,
       (select coalesce(sum(partition_count), 0)::bigint from eventflow.stream
        where organization_id = $1 and deleted_at is null) as partitions,
       (select count(*) from eventflow.consumer_group where organization_id = $1) as groups
