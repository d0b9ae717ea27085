select id, type, key, event_time, content_type, headers, payload from eventflow.hold_dead_letter_v1($1, $2, $3)
