select (extract(epoch from now_at) * 1000000)::bigint as now_at, floor_offset, head_offset, start_offset, next_offset, claim_offset,
       paused, members, holder, holder_session, holder_broker, holder_broker_name, holder_broker_address,
       in_place_offset, in_place_attempts, (extract(epoch from in_place_due_at) * 1000000)::bigint as in_place_due_at,
       is_claimed, claim_broker, claim_broker_name, claim_broker_address,
       retry_attempts, (extract(epoch from retry_due_at) * 1000000)::bigint as retry_due_at, is_retry_in_place, is_retry_held,
       retry_broker, retry_broker_name, retry_broker_address, retry_member, retry_reason, retry_error_class,
       dead_attempts, (extract(epoch from dead_at) * 1000000)::bigint as dead_at, dead_member, dead_reason, dead_error_class,
       is_retry_parked, key_behind_offset
from eventflow.explain_v1($1, $2, $3, $4)
