select name, value from eventflow.quota where organization_id = $1 and credential = ''
