select eventflow.create_partitions_v1($1, $2, 0, $3)
