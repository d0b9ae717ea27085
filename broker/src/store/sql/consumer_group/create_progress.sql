-- Microseconds since 1970; null unless the group starts at a time.
select eventflow.create_progress_v1(
    $1, $2, $3, $4::text, timestamptz 'epoch' + $5::bigint * interval '1 microsecond')
