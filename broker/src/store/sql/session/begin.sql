select eventflow.begin_session_v2(
    $1::uuid, $2::text, $3::text, $4::bytea, $5::text, $6::text, $7::integer, $8::integer, $9::text)
