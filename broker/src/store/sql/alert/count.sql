select count(*) filter (where group_id = $2) as of_group, count(*) as of_organization
from eventflow.alert where organization_id = $1
