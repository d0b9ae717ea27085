-- Null does not narrow. Payloads, histories and originals stay where they are.
select event_offset, attempts, reason, error_class, (extract(epoch from appended_at) * 1000000)::bigint as appended_at, publisher,
       id, type, key, event_time, content_type, headers, ''::bytea as payload, dead_letter_id, partition_index,
       (extract(epoch from dead_at) * 1000000)::bigint as dead_at, '[]' as history,
       editor, (extract(epoch from edited_at) * 1000000)::bigint as edited_at, changed,
       null::text as original_content_type, null::text as original_headers, null::bytea as original_payload
from eventflow.dead_letters_v2(
    $1, $2,
    row($3::uuid[], $4::text, $5::text, timestamptz 'epoch' + $6::bigint * interval '1 microsecond',
        timestamptz 'epoch' + $7::bigint * interval '1 microsecond')::eventflow.dead_letter_filter_v1,
    timestamptz 'epoch' + $8::bigint * interval '1 microsecond', $9, $10)
