-- In the order of the partitions asked for; one that is gone meanwhile is left out.
select b.partition_id, b.floor_offset, b.head_offset
from unnest($1::bigint[]) with ordinality as p(partition_id, place)
join eventflow.bounds_v1($1) b using (partition_id)
order by p.place
