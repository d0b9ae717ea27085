select partition_id, floor_offset, head_offset from eventflow.bounds_v1($1)
