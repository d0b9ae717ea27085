select eventflow.accept_invitation_v1($1::bytea, $2::text)
