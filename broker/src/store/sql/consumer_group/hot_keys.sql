select partition_index, key, waiting_events, behind_offset from eventflow.hot_keys_v1($1, $2)
