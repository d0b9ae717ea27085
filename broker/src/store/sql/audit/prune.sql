select eventflow.prune_audit_v1($1::bigint, $2::integer)
