select eventflow.pause_v1($1, $2, $3)
