select eventflow.let_go_v1($1, $2, $3, $4)
