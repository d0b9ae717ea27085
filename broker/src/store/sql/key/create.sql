-- Fails when the id is taken.
select eventflow.create_api_key_v2($1::text, $2::text, $3::bytea, $4::text, $5::text, $6::text[])
