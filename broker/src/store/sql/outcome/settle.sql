select lost_claims, lost_failures, lost_acks from eventflow.settle_v1($1, $2, $3, $4, $5, $6)
