-- Through a function: the broker has no rights on the table. At most one row.
select organization_id, secret_sha256, expired, revoked from eventflow.find_api_key_v1($1::text)
