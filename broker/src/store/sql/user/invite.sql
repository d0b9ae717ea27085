-- No row: the address is taken.
insert into eventflow.user_account (organization_id, email, name, role, invitation_sha256, invitation_expires_at)
values ($1, $2, $3, $4, $5, clock_timestamp() + $6::double precision * interval '1 s')
on conflict (organization_id, email) do nothing
returning user_id
