select key, event_offset, parked from eventflow.key_rows_v1($1, $2, $3, $4)
