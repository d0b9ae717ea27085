select 1 from eventflow.api_key k where k.organization_id = $1 and k.key_id = $2 for update
