select redrive_id, actor, (extract(epoch from started_at) * 1000000)::bigint as started_at, events, waiting, retrying, died, cancelled,
       (extract(epoch from cancelled_at) * 1000000)::bigint as cancelled_at,
       (extract(epoch from last_due_at) * 1000000)::bigint as last_due_at
from eventflow.redrives_v1($1, $2, $3)
