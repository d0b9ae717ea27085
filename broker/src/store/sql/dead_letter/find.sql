select event_offset, attempts, reason, error_class, (extract(epoch from appended_at) * 1000000)::bigint as appended_at, publisher,
       id, type, key, event_time, content_type, headers, payload, dead_letter_id, partition_index,
       (extract(epoch from dead_at) * 1000000)::bigint as dead_at, history::text as history,
       editor, (extract(epoch from edited_at) * 1000000)::bigint as edited_at, changed,
       original_content_type, original_headers, original_payload
from eventflow.dead_letters_v2(
    $1, $2, row($3::uuid[], null, null, null, null)::eventflow.dead_letter_filter_v1, null, null, 1)
