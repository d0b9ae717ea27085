select partition_index, retries, dead_letters from eventflow.outcome_counts_v1($1, $2)
