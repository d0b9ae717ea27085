select eventflow.sign_in_wait_v1($1::bytea[], $2::integer[])
