select eventflow.refilter_v1($1, $2)
