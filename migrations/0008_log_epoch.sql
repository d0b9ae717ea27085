-- The life of the database: compared at start, on reconnect, and by every append.

-- Raises the log epoch when this database is not the one that the stored pair names (failed over, or restored under another
-- identity); `p_force` raises it by hand (`eventflow migrate --after-restore`). Returns the epoch now. In a new epoch offsets
-- restart at `epoch * 2^40`, so none that a consumer may have seen before is used again.
create function check_log_epoch_v1(p_force boolean) returns table (log_epoch bigint, raised boolean)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_state log_state;
    v_system text;
    v_timeline text;
begin
    select system_identifier::text into strict v_system from pg_control_system();
    v_timeline := current_timeline();
    select * into strict v_state from log_state;
    if not p_force and v_state.system_identifier = v_system and v_state.timeline = v_timeline then
        return query select v_state.log_epoch, false;
        return;
    end if;
    -- One broker raises; the others find it raised. Appends need no lock: each compares the timeline itself.
    select * into strict v_state from log_state for update;
    if not p_force and v_state.system_identifier = v_system and v_state.timeline = v_timeline then
        return query select v_state.log_epoch, false;
        return;
    end if;
    -- Numbers of transactions mean nothing in another server: whatever the ring waits for there, it finds out again.
    update log_state s set log_epoch = s.log_epoch + 1, system_identifier = v_system, timeline = v_timeline,
           raised_at = clock_timestamp(), ring_condemned = null, ring_condemned_by = null
    returning s.log_epoch into v_state.log_epoch;
    -- A group whose progress lies beyond what survived goes on where the new epoch starts.
    update consumer_offset o set next_offset = v_state.log_epoch << 40
    from partition_head h
    left join lateral (
        select b.base_offset + b.event_count as next_offset from event_batch b
        where b.partition_id = h.partition_id order by b.base_offset desc limit 1
    ) n on true
    where h.partition_id = o.partition_id and o.next_offset > greatest(n.next_offset, h.end_offset);
    -- Claims may name offsets that did not survive: shared groups go on at their floors.
    delete from group_claim;
    update consumer_offset set claim_offset = null, dispatcher = null, dispatcher_broker = null
    where claim_offset is not null or dispatcher is not null;
    update retry set holder = null, broker_id = null, due_at = clock_timestamp() where holder is not null;
    -- Every lease is fenced by the new epoch; members attach again.
    update group_state set version = version + 1;
    return query select v_state.log_epoch, true;
end
$$;
