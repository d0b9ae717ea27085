select partition_ids, epochs, excess from eventflow.dispatch_v1($1, $2, $3, $4, $5, $6, $7, $8)
