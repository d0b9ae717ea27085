select u.user_id, u.email, u.name, u.role, u.disabled, not u.has_password as invited,
       (extract(epoch from u.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from u.last_login_at) * 1000000)::bigint as last_login_at
from eventflow.user_account u where u.organization_id = $1 and u.user_id = $2
