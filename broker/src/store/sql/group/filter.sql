select eventflow.group_filter_v1($1)
