-- Null: no such partition in this organization.
select eventflow.offset_at_time_v1($1, $2, timestamptz 'epoch' + $3::bigint * interval '1 microsecond')
