-- Microseconds since 1970. Null for a partition that is gone meanwhile.
select eventflow.offset_at_time_v1($1, p.partition_id, timestamptz 'epoch' + $3::bigint * interval '1 microsecond') as at_time
from unnest($2::bigint[]) with ordinality as p(partition_id, place)
order by p.place
