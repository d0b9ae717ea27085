-- Fails when the organization does not exist, or the id is taken.
select eventflow.create_api_key_v1($1::text, $2::text, $3::bytea, $4::text)
