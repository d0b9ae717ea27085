update eventflow.user_account u
set name = coalesce($3, u.name), role = coalesce($4, u.role), disabled = coalesce($5, u.disabled)
where u.organization_id = $1 and u.user_id = $2
