update eventflow.api_key k
set successor = $3,
    expires_at = least(k.expires_at, clock_timestamp() + $4::bigint * interval '1 microsecond')
where k.organization_id = $1 and k.key_id = $2
returning (extract(epoch from k.expires_at) * 1000000)::bigint
