-- Null does not narrow. Payloads and histories stay where they are.
select event_offset, attempts, reason, error_class, (extract(epoch from appended_at) * 1000000)::bigint as appended_at, publisher,
       id, type, key, event_time, content_type, headers, ''::bytea as payload, dead_letter_id, partition_index,
       (extract(epoch from dead_at) * 1000000)::bigint as dead_at, '[]' as history
from eventflow.dead_letters_v1(
    $1, $2,
    row($3::uuid[], $4::text, $5::text, timestamptz 'epoch' + $6::bigint * interval '1 microsecond',
        timestamptz 'epoch' + $7::bigint * interval '1 microsecond')::eventflow.dead_letter_filter_v1,
    timestamptz 'epoch' + $8::bigint * interval '1 microsecond', $9, $10)
