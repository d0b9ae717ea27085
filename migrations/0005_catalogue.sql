-- Partitions of streams: made, added, purged, dropped. The stream row itself is cold and written by plain SQL under row-level
-- security; these functions do what touches hot rows, inside the same transaction.

-- Whether events of such a stream go soon: at once when a size is reached, or within a day.
create function is_short_lived(p_max_age_us bigint, p_max_bytes bigint) returns boolean
language sql immutable
as $$ select p_max_bytes > 0 or p_max_age_us between 1 and 86400000000 $$;

create function create_partitions_v1(p_organization bigint, p_stream bigint, p_from integer, p_to integer) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_start bigint;
    v_stream record;
begin
    select log_epoch << 40 into strict v_start from log_state;
    -- Refuses a foreign stream: the row is found by organization.
    select routing_version, is_short_lived(retention_max_age_us, retention_max_bytes) as short_lived, track_keys
    into strict v_stream
    from stream where stream_id = p_stream and organization_id = p_organization;
    with made as (
        insert into stream_partition (stream_id, partition_index, partition_id, organization_id)
        select p_stream, i, nextval('partition_id_seq'), p_organization from generate_series(p_from, p_to - 1) i
        returning partition_id
    )
    insert into partition_head (partition_id, organization_id, stream_id, routing_version, floor_offset, end_offset,
                                short_lived, track_keys)
    select partition_id, p_organization, p_stream, v_stream.routing_version, v_start, v_start, v_stream.short_lived,
           v_stream.track_keys
    from made;
end
$$;

-- After the stream row got its new count and routing version: makes the partitions, tells the old ones, and gives every group
-- of the stream its progress there, at the floor.
create function add_partitions_v1(p_organization bigint, p_stream bigint, p_from integer, p_to integer) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    -- A key that went elsewhere would have no event there, and an expectation that it has none would hold.
    if exists (select from stream s where s.stream_id = p_stream and s.track_keys) then
        raise exception 'a stream that tracks its keys gets no more partitions';
    end if;
    perform create_partitions_v1(p_organization, p_stream, p_from, p_to);
    -- In the order in which appends lock.
    perform 1 from partition_head h
    where h.partition_id in (select p.partition_id from stream_partition p where p.stream_id = p_stream)
      and h.organization_id = p_organization
    order by h.partition_id for update;
    update partition_head h set routing_version = s.routing_version
    from stream s, stream_partition p
    where s.stream_id = p_stream and p.stream_id = p_stream and h.partition_id = p.partition_id
      and h.organization_id = p_organization;
    perform 1 from group_state g join consumer_group c using (group_id)
    where c.stream_id = p_stream and g.organization_id = p_organization order by g.group_id for update of g;
    insert into consumer_offset (group_id, partition_id, organization_id, partition_index, next_offset)
    select c.group_id, p.partition_id, p_organization, p.partition_index, h.floor_offset
    from consumer_group c
    join stream_partition p on p.stream_id = c.stream_id and p.partition_index >= p_from
    join partition_head h on h.partition_id = p.partition_id and h.organization_id = p_organization
    join group_state g on g.group_id = c.group_id and g.organization_id = p_organization
    where c.stream_id = p_stream and c.organization_id = p_organization;
    update group_state g set generation = generation + 1, version = version + 1
    from consumer_group c
    where c.group_id = g.group_id and c.stream_id = p_stream and g.organization_id = p_organization;
end
$$;

-- Raises the floor of a partition; never lowers it, never passes the head. Returns how many events can no longer be read.
create function raise_floor_v1(p_organization bigint, p_partition bigint, p_floor bigint) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_head partition_head;
    v_floor bigint;
    v_before bigint;
    v_after bigint;
begin
    select * into v_head from partition_head
    where partition_id = p_partition and organization_id = p_organization for update;
    if not found then
        return 0;
    end if;
    select least(p_floor, e.next_offset) into v_floor from partition_end(p_partition) e;
    if v_floor <= v_head.floor_offset then
        return 0;
    end if;
    select events into v_before from partition_before(p_partition, v_head.floor_offset);
    select events into v_after from partition_before(p_partition, v_floor);
    update partition_head set floor_offset = v_floor where partition_id = p_partition;
    return v_after - v_before;
end
$$;

-- After the stream row was marked as deleted: nothing can be appended or read any more; the space goes with reclaim.
create function drop_partitions_v1(p_organization bigint, p_stream bigint) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    -- In the order in which appends lock.
    select 1 from partition_head h
    where h.partition_id in (
        select p.partition_id from stream_partition p
        where p.stream_id = p_stream and p.organization_id = p_organization)
      and h.organization_id = p_organization
    order by h.partition_id for update;
    update partition_head h set deleted = true
    from stream_partition p
    where p.stream_id = p_stream and p.organization_id = p_organization and h.partition_id = p.partition_id
      and h.organization_id = p_organization
$$;

-- A page of partitions behind p_after: their floors, and where age and size say that they should be.
create function retention_v1(p_after bigint, p_limit integer)
returns table (partition_id bigint, organization_id bigint, floor_offset bigint, target_floor bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    with candidate as (
        select h.partition_id, h.organization_id, h.floor_offset, s.retention_max_age_us, s.retention_max_bytes
        from partition_head h join stream s on s.stream_id = h.stream_id
        where h.partition_id > p_after and not h.deleted
        order by h.partition_id limit p_limit
    )
    select c.partition_id, c.organization_id, c.floor_offset, greatest(c.floor_offset, age.floor, size.floor)
    from candidate c
    left join lateral (
        -- The first row that is young enough; the head when none is.
        select coalesce(
            (select b.base_offset from event_batch b where b.partition_id = c.partition_id
               and b.appended_at >= clock_timestamp() - c.retention_max_age_us * interval '1 microsecond'
             order by b.appended_at, b.base_offset limit 1),
            (select e.next_offset from partition_end(c.partition_id) e)) as floor
    ) age on c.retention_max_age_us > 0
    left join lateral (
        -- The first row with at most so many bytes from its start to the end.
        select coalesce(
            (select b.base_offset from event_batch b, partition_end(c.partition_id) e
             where b.partition_id = c.partition_id and b.base_offset >= c.floor_offset
               and b.bytes_before >= e.bytes - c.retention_max_bytes
             order by b.base_offset limit 1),
            (select e.next_offset from partition_end(c.partition_id) e)) as floor
    ) size on c.retention_max_bytes > 0
$$;

-- Removes rows of segment 0 below the floor (all of a deleted partition), at most p_limit; the ring has its own way, and nothing
-- else removes rows of the log. The head is saved before the newest row goes.
create function reclaim_v1(p_partition bigint, p_limit integer) returns integer
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_head partition_head;
    v_removed integer;
begin
    select * into v_head from partition_head where partition_id = p_partition for update;
    if not found then
        return 0;
    end if;
    update partition_head h set end_offset = greatest(h.end_offset, b.next_offset), end_events = greatest(h.end_events, b.events),
           end_bytes = greatest(h.end_bytes, b.bytes), end_appended_at = greatest(h.end_appended_at, b.appended_at)
    from (
        select base_offset + event_count as next_offset, events_before + event_count as events,
               bytes_before + size_bytes as bytes, appended_at
        from event_batch where partition_id = p_partition order by base_offset desc limit 1
    ) b
    -- Only when the newest row is about to go: an update of the head row is a dead version that appends must step over.
    where h.partition_id = p_partition and (b.next_offset <= h.floor_offset or h.deleted)
      and b.next_offset > h.end_offset;
    delete from event_batch_0 where partition_id = p_partition and base_offset in (
        select base_offset from event_batch_0
        where partition_id = p_partition and (v_head.deleted or base_offset + event_count <= v_head.floor_offset)
        order by base_offset limit p_limit
    );
    get diagnostics v_removed = row_count;
    if v_head.deleted and v_removed = 0 then
        -- Nobody appends here any more, so the lock may be held a little longer.
        delete from key_position where ctid = any(array(
            select k.ctid from key_position k where k.partition_id = p_partition limit p_limit * 50));
        if found then
            return p_limit;
        end if;
        delete from producer_run where partition_id = p_partition;
        delete from stream_partition where partition_id = p_partition;
        delete from partition_head where partition_id = p_partition;
    end if;
    return v_removed;
end
$$;

-- Partitions that have rows to reclaim in segment 0.
create function reclaimable_v1(p_after bigint, p_limit integer) returns setof bigint
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select h.partition_id from partition_head h
    where h.partition_id > p_after
      and (h.deleted or exists (
          select 1 from (
              select b.base_offset + b.event_count as next_offset from event_batch_0 b
              where b.partition_id = h.partition_id order by b.base_offset limit 1
          ) oldest where oldest.next_offset <= h.floor_offset))
    order by h.partition_id limit p_limit
$$;

-- Forgets producer runs that are beyond the 64 newest of their producer and partition, or older than 7 days; what is newest of
-- a producer is kept for the 7 days. Also old answers of administrative requests, and deleted streams of which nothing is left.
create function prune_runs_v1() returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_removed bigint;
begin
    with ranked as (
        select ctid, appended_at,
               row_number() over (partition by partition_id, producer_id order by epoch desc, first_sequence desc) as place
        from producer_run
    )
    delete from producer_run r using ranked x
    where r.ctid = x.ctid and (x.place > 64 or x.appended_at < clock_timestamp() - interval '7 days');
    get diagnostics v_removed = row_count;
    delete from admin_request where created_at < clock_timestamp() - interval '1 day';
    -- Reclaim has taken the last row of the last partition.
    delete from stream s
    where s.deleted_at is not null
      and not exists (select 1 from stream_partition p where p.stream_id = s.stream_id);
    return v_removed;
end
$$;
