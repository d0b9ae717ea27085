-- Through a function: the organization is what the caller wants to know. At most one row.
select organization_id, secret_sha256, expired, revoked, scopes from eventflow.find_api_key_v2($1::text)
