delete from eventflow.user_account u where u.organization_id = $1 and u.user_id = $2
