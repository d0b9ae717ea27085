select eventflow.logout_v1($1::bytea)
