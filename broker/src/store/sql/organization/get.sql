select name, display_name, (extract(epoch from created_at) * 1000000)::bigint as created_at
from eventflow.organization where organization_id = $1
