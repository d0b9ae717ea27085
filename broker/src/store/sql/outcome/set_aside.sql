select eventflow.set_aside_v1($1, $2, $3, $4) as lost
