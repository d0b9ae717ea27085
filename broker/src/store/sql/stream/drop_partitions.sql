select eventflow.drop_partitions_v1($1, $2)
