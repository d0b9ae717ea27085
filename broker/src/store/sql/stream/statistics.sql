select partition_index, floor_offset, head_offset, events, bytes,
       (extract(epoch from appended_at) * 1000000)::bigint as appended_at
from eventflow.statistics_v1($1, $2)
