select eventflow.sign_in_failed_v1($1::bytea[])
