-- The first row carries the bounds, the others a batch each.
select floor_offset, head_offset, log_epoch, base_offset, event_count,
       (extract(epoch from appended_at) * 1000000)::bigint, crc,
       ids, types, keys, times, content_types, headers, payloads, cut_offset, publishers, publisher_counts
from eventflow.read_v1($1, $2, $3, $4, $5)
