select eventflow.begin_session_v1(
    $1::uuid, $2::text, $3::text, $4::bytea, $5::text, $6::text, $7::integer, $8::integer)
