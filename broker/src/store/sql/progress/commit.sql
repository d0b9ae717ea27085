select ordinal, verdict, next_offset, lease_epoch from eventflow.commit_v1($1)
