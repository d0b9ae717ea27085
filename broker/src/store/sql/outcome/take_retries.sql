select event_offset, attempts, reason, error_class, (extract(epoch from appended_at) * 1000000)::bigint as appended_at, publisher,
       id, type, key, event_time, content_type, headers, payload, partition_id, lease_epoch, log_epoch, lost_only, alone, redriven
from eventflow.take_retries_v1($1, $2, $3, $4, $5, $6, $7, $8)
