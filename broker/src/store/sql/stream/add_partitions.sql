select eventflow.add_partitions_v1($1, $2, $3, $4)
