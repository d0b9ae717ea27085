update eventflow.user_account u
set password_hash = null, invitation_sha256 = $3,
    invitation_expires_at = clock_timestamp() + $4::double precision * interval '1 s'
where u.organization_id = $1 and u.user_id = $2
returning (extract(epoch from u.invitation_expires_at) * 1000000)::bigint
