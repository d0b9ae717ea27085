select partition_index, next_offset, floor_offset, head_offset, lag_events, lag_seconds, member_name, lease_epoch,
       truncated_events
from eventflow.lag_v1($1, $2)
