-- Nothing moves unless every target is within its partition's bounds, and nothing on a dry run.
select partition_index, previous_offset, next_offset, replayed_events, floor_offset, head_offset, within,
       cleared_retries
from eventflow.seek_v1($1, $2, $3, $4, $5)
