select eventflow.give_back_v1($1, $2, $3, $4, $5)
