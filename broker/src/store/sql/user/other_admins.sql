-- Locked in one order, so that two admins who take each other away at the same time do not both succeed.
with admins as (
    select u.user_id, u.has_password from eventflow.user_account u
    where u.organization_id = $1 and u.role = 'admin' and not u.disabled
    order by u.user_id for update
)
select count(*) from admins where user_id <> $2 and has_password
