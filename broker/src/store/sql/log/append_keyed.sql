-- Times travel as microseconds since 1970.
select partition_id, run, verdict, base_offset, (extract(epoch from appended_at) * 1000000)::bigint, expected, bases, counts
from eventflow.append_keyed_v1($1, $2, $3, $4, $5, $6, $7)
