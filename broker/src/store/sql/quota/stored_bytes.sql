select organization_id, bytes from eventflow.stored_bytes_v1($1::bigint[])
