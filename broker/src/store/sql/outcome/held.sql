select is_retry, partition_id, at_offset, lease_epoch from eventflow.held_v1($1, $2, $3)
