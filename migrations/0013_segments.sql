-- The ring: segments 1 to 4 of the log, for events of short-lived streams. See docs/adr/0009-ring-of-segments.md.
--
-- A segment is truncated when all of it lies below the floors, the heads of partitions whose newest rows it holds are saved, and
-- no snapshot is left that could see more. What is still readable when its segment is needed moves to segment 0.

create function segment_table(p_segment integer) returns regclass
language sql stable set search_path = eventflow, pg_temp
as $$ select format('event_batch_%s', p_segment)::regclass $$;

-- The partitions that have rows in a segment of the ring: where the newest of them ends, and whether any can still be read.
create function segment_ends(p_segment integer)
returns table (
    partition_id bigint, next_offset bigint, events bigint, bytes bigint, appended_at timestamptz, readable boolean,
    saved boolean
)
language plpgsql stable set search_path = eventflow, pg_temp
as $$
begin
    return query execute format($query$
        with recursive held as (
            -- One index probe a partition.
            (select b.partition_id from %1$s b order by b.partition_id limit 1)
            union all
            select (select b.partition_id from %1$s b where b.partition_id > held.partition_id order by b.partition_id limit 1)
            from held where held.partition_id is not null
        )
        select held.partition_id, newest.next_offset, newest.events, newest.bytes, newest.appended_at,
               coalesce(not h.deleted and newest.next_offset > h.floor_offset, false),
               -- A partition that is gone needs no head. What is newer elsewhere counts on from it.
               h.partition_id is null or newest.next_offset <= h.end_offset or exists (
                   select 1 from event_batch x
                   where x.partition_id = held.partition_id and x.base_offset >= newest.next_offset)
        from held
        cross join lateral (
            select b.base_offset + b.event_count as next_offset, b.events_before + b.event_count as events,
                   b.bytes_before + b.size_bytes as bytes, b.appended_at
            from %1$s b where b.partition_id = held.partition_id order by b.base_offset desc limit 1
        ) newest
        left join partition_head h on h.partition_id = held.partition_id
        where held.partition_id is not null
    $query$, segment_table(p_segment));
end
$$;

-- Bytes of a segment's rows that can still be read, about.
create function segment_readable_bytes(p_segment integer) returns bigint
language plpgsql stable set search_path = eventflow, pg_temp
as $$
declare
    v_bytes bigint;
begin
    execute format($query$
        select coalesce(sum(e.bytes - oldest.bytes_before), 0)
        from segment_ends($1) e
        join partition_head h on h.partition_id = e.partition_id
        cross join lateral (
            select b.bytes_before from %s b
            where b.partition_id = e.partition_id and b.base_offset + b.event_count > h.floor_offset
            order by b.base_offset limit 1
        ) oldest
        where e.readable
    $query$, segment_table(p_segment)) into v_bytes using p_segment;
    return v_bytes;
end
$$;

-- One step of the ring. p_segment_bytes: what a segment holds at least before the next one is written, unless an hour passes.
--   turned     another segment is written from now on
--   condemned  nothing in the segment can be read, and heads are saved: it goes when no older snapshot is left
--   emptied    the segment was truncated
--   moved      rows that can still be read went to segment 0, at most p_rows of one partition
--   waiting    a condemned segment may still be seen by an older snapshot, or somebody has it locked
--   idle       there is nothing to do
create function turn_ring_v1(p_segment_bytes bigint, p_rows integer) returns text
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_state log_state;
    v_size bigint;
    v_total bigint;
    v_wanted boolean;
    v_overdue boolean;
    v_next integer;
    v_segment integer;
    v_waiting boolean := false;
    v_end record;
begin
    if not pg_try_advisory_xact_lock(hashtext('eventflow.job.ring')) then
        return 'idle';
    end if;
    select * into strict v_state from log_state;

    if v_state.ring_condemned is not null then
        case empty_segment(v_state.ring_condemned, v_state.ring_condemned_by)
            when 'waiting' then v_waiting := true;
            when 'emptied' then
                update log_state set ring_condemned = null, ring_condemned_by = null;
                return 'emptied';
            else
                -- An append that had chosen this segment before the ring turned came late: the next step looks again, without
                -- the lock that this one holds.
                update log_state set ring_condemned = null, ring_condemned_by = null;
                return 'waiting';
        end case;
    end if;

    v_size := pg_total_relation_size(segment_table(v_state.ring_segment));
    select sum(pg_total_relation_size(segment_table(i))) into v_total from generate_series(1, 4) i;
    -- Segments as large as the ring needs: what stays readable spans two or three of them.
    v_overdue := v_state.ring_turned_at < clock_timestamp() - interval '1 hour';
    v_wanted := pg_relation_size(segment_table(v_state.ring_segment)) > 0
        and (v_overdue or v_size >= greatest(p_segment_bytes, v_total / 4));
    v_next := v_state.ring_segment % 4 + 1;
    if v_wanted and pg_relation_size(segment_table(v_next)) = 0 then
        update log_state set ring_segment = v_next, ring_turned_at = clock_timestamp();
        return 'turned';
    end if;

    if not v_waiting then
        -- The oldest first.
        for v_segment in select (v_state.ring_segment + i - 1) % 4 + 1 from generate_series(1, 3) i loop
            continue when pg_relation_size(segment_table(v_segment)) = 0;
            continue when exists (select 1 from segment_ends(v_segment) where readable);
            -- Heads in the order in which appends lock them.
            for v_end in select * from segment_ends(v_segment) where not saved order by partition_id loop
                perform 1 from partition_head where partition_id = v_end.partition_id for update;
                update partition_head
                set end_offset = greatest(end_offset, v_end.next_offset), end_events = greatest(end_events, v_end.events),
                    end_bytes = greatest(end_bytes, v_end.bytes), end_appended_at = greatest(end_appended_at, v_end.appended_at)
                where partition_id = v_end.partition_id;
            end loop;
            -- This transaction's number is given after it looked: whoever cannot see what it saw holds an older snapshot.
            update log_state set ring_condemned = v_segment, ring_condemned_by = pg_current_xact_id();
            return 'condemned';
        end loop;
    end if;

    -- What is left in the segment that is needed next moves when it is little, or when the ring has waited for long.
    if v_wanted and v_state.ring_condemned is distinct from v_next
       and (v_overdue or segment_readable_bytes(v_next) * 4 <= pg_total_relation_size(segment_table(v_next)))
       and keep_rows(v_next, p_rows) > 0 then
        return 'moved';
    end if;
    return case when v_waiting then 'waiting' else 'idle' end;
end
$$;

-- Moves the oldest rows that can still be read, of one partition, to segment 0; answers how many. Each is in one of the two in
-- every snapshot.
create function keep_rows(p_segment integer, p_rows integer) returns integer
language plpgsql volatile set search_path = eventflow, pg_temp
as $$
declare
    v_head partition_head;
    v_moved integer;
begin
    -- Locked as for an append.
    select h.* into v_head from partition_head h
    where h.partition_id = (select e.partition_id from segment_ends(p_segment) e where e.readable order by e.partition_id limit 1)
    for update;
    if not found then
        return 0;
    end if;
    update event_batch set segment_id = 0
    where segment_id = p_segment and partition_id = v_head.partition_id and base_offset in (
        select b.base_offset from event_batch b
        where b.segment_id = p_segment and b.partition_id = v_head.partition_id
          and b.base_offset + b.event_count > v_head.floor_offset
        order by b.base_offset limit p_rows
    );
    get diagnostics v_moved = row_count;
    return v_moved;
end
$$;

-- Truncates a condemned segment: 'emptied'; 'waiting' while a snapshot could still see into it, or while somebody has it locked:
-- an append waits at most 50 ms behind the attempt. 'in use': it holds something after all.
create function empty_segment(p_segment integer, p_condemned_by xid8) returns text
language plpgsql volatile set search_path = eventflow, pg_temp
as $$
begin
    -- Truncation does not ask snapshots. Those of vacuum (a process without a user) read nothing here.
    if exists (
        select 1 from pg_stat_activity a
        where a.usesysid is not null and a.pid <> pg_backend_pid()
          and (a.datid is null or a.datname = current_database())
          and age(a.backend_xmin) >= age(p_condemned_by::xid)
    ) then
        return 'waiting';
    end if;
    perform set_config('lock_timeout', '50ms', true);
    begin
        -- No more inserts from here on; readers go on while this looks again.
        execute format('lock table %s in share mode', segment_table(p_segment));
        if exists (select 1 from segment_ends(p_segment) where readable or not saved) then
            return 'in use';
        end if;
        execute format('truncate table %s', segment_table(p_segment));
    exception when lock_not_available or deadlock_detected then
        return 'waiting';
    end;
    return 'emptied';
end
$$;

-- Streams whose retention was changed: their next events go where such events go. Answers how many partitions it told.
create function sort_streams_v1() returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_partitions bigint[];
begin
    -- In the order in which appends lock.
    v_partitions := array(
        select h.partition_id from partition_head h join stream s on s.stream_id = h.stream_id
        where h.short_lived <> is_short_lived(s.retention_max_age_us, s.retention_max_bytes)
        order by h.partition_id limit 1000 for update of h
    );
    update partition_head h set short_lived = is_short_lived(s.retention_max_age_us, s.retention_max_bytes)
    from stream s where s.stream_id = h.stream_id and h.partition_id = any (v_partitions);
    return cardinality(v_partitions);
end
$$;

revoke execute on function segment_table(integer), segment_ends(integer), segment_readable_bytes(integer),
    turn_ring_v1(bigint, integer), keep_rows(integer, integer), empty_segment(integer, xid8), sort_streams_v1() from public;
grant execute on function turn_ring_v1(bigint, integer), sort_streams_v1() to eventflow_broker;
