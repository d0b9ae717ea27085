select event_offset, attempts, reason, error_class, (extract(epoch from appended_at) * 1000000)::bigint as appended_at, publisher,
       id, type, key, event_time, content_type, headers, payload, due_in_ms
from eventflow.in_place_v1($1, $2, $3, $4)
