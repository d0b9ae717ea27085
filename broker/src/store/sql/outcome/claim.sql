select partition_id, from_offset, to_offset, lease_epoch, log_epoch, done from eventflow.claim_v1($1, $2, $3, $4, $5, $6)
