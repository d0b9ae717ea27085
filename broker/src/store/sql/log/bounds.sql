select partition_id, floor_offset, head_offset, organization_id from eventflow.bounds_v1($1)
