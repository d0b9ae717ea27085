select outcome, version, log_epoch from eventflow.join_v1($1, $2, $3, $4, $5, $6, $7, $8)
