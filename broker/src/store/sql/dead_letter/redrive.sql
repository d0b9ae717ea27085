select redrive_id, dead_letters
from eventflow.redrive_v1(
    $1, $2,
    row($3::uuid[], $4::text, $5::text, timestamptz 'epoch' + $6::bigint * interval '1 microsecond',
        timestamptz 'epoch' + $7::bigint * interval '1 microsecond')::eventflow.dead_letter_filter_v1,
    $8, $9, $10)
