select organization_id, generation, assigned_generation, version, paused, log_epoch, member_names, member_sessions,
       partition_ids, partition_indexes, next_offsets, lease_epochs, holders, holder_sessions, targets, drain_ms_left,
       members_away, in_place
from eventflow.group_snapshot_v1($1)
