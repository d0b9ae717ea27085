select o.name from eventflow.organization o where o.organization_id = $1
