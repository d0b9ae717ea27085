-- Partitions are locked in ascending order, as appends lock them.
select coalesce(sum(f.purged), 0)::bigint as purged
from (
    select eventflow.raise_floor_v1($1, p.partition_id, p.floor_offset) as purged
    from (
        select partition_id, floor_offset from unnest($2::bigint[], $3::bigint[]) as u(partition_id, floor_offset)
        order by partition_id
    ) p
) f
