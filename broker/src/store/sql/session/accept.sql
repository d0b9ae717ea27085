select eventflow.accept_invitation_v2($1::bytea, $2::text, $3::text, $4::text)
