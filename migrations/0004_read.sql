-- Reading the log. Each function answers from one snapshot.

-- The head of a partition: the next offset to be assigned.
create function partition_end(p_partition bigint)
returns table (next_offset bigint, events bigint, bytes bigint, appended_at timestamptz)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select greatest(b.next_offset, h.end_offset, s.log_epoch << 40), greatest(b.events, h.end_events),
           greatest(b.bytes, h.end_bytes), greatest(b.appended_at, h.end_appended_at)
    from partition_head h
    cross join log_state s
    left join lateral (
        select base_offset + event_count as next_offset, events_before + event_count as events,
               bytes_before + size_bytes as bytes, appended_at
        from event_batch where partition_id = h.partition_id order by base_offset desc limit 1
    ) b on true
    where h.partition_id = p_partition
$$;

-- Events and bytes of a partition before an offset, ever. Offsets in a jump between log epochs count as its end.
-- In plpgsql because that keeps its plans: a function in SQL plans each call anew, for every segment of the log.
create function partition_before(p_partition bigint, p_offset bigint)
returns table (events bigint, bytes bigint)
language plpgsql stable security definer set search_path = eventflow, pg_temp
as $$
begin
    return query
        select x.events_before + least(p_offset - x.base_offset, x.event_count),
               x.bytes_before
                   + x.size_bytes::bigint * least(p_offset - x.base_offset, x.event_count) / x.event_count
        from event_batch x where x.partition_id = p_partition and x.base_offset <= p_offset
        order by x.base_offset desc limit 1;
    if found then
        return;
    end if;
    return query
        select coalesce(n.events_before, h.end_events), coalesce(n.bytes_before, h.end_bytes)
        from partition_head h
        left join lateral (
            select x.events_before, x.bytes_before from event_batch x where x.partition_id = h.partition_id
            order by x.base_offset limit 1
        ) n on true
        where h.partition_id = p_partition;
end
$$;

-- A page of the log: the rows that hold `p_from` and what follows, about `p_max_bytes` of them, at least one. The first row
-- returned carries the bounds and no batch; a foreign, deleted or unknown partition returns nothing at all. Its `cut_offset` is
-- set when p_from lies behind the end of a log epoch that a failover or restore has cut: where what survived ends.
create function read_v1(
    p_organization bigint, p_partition bigint, p_from bigint, p_max_bytes bigint, p_max_rows integer
) returns table (
    floor_offset bigint, head_offset bigint, log_epoch bigint,
    base_offset bigint, event_count integer, size_bytes integer, appended_at timestamptz, crc bigint,
    ids text[], types text[], keys text[], times bigint[], content_types text[], headers text[], payloads bytea[],
    cut_offset bigint, publishers text[], publisher_counts integer[]
)
language plpgsql stable security definer set search_path = eventflow, pg_temp
as $$
declare
    v_start record;
    v_cut bigint;
begin
    -- The row that holds p_from, or else the next one.
    -- The last row that begins there or before: asked for a row that ends behind it, the index would be read to the first one.
    select b.base_offset, b.bytes_before into v_start
    from (
        select x.base_offset, x.bytes_before, x.event_count from event_batch x
        where x.partition_id = p_partition and x.base_offset <= p_from order by x.base_offset desc limit 1
    ) b
    where b.base_offset + b.event_count > p_from;
    if not found then
        -- An end of the log, or of one of its epochs, unless that was cut.
        select greatest(h.end_offset, b.base_offset + b.event_count) into v_cut
        from partition_head h
        left join lateral (
            select x.base_offset, x.event_count from event_batch x
            where x.partition_id = h.partition_id and x.base_offset < p_from order by x.base_offset desc limit 1
        ) b on true
        -- An epoch's first offset is where it begins, whatever stood before it.
        where h.partition_id = p_partition and p_from > h.floor_offset and p_from & ((1::bigint << 40) - 1) <> 0;
        v_cut := case when v_cut < p_from then v_cut end;
        select b.base_offset, b.bytes_before into v_start from event_batch b
        where b.partition_id = p_partition and b.base_offset > p_from
        order by b.base_offset limit 1;
    end if;

    return query
        select h.floor_offset, e.next_offset, s.log_epoch, null::bigint, null::integer, null::integer,
               null::timestamptz, null::bigint, null::text[], null::text[], null::text[], null::bigint[], null::text[],
               null::text[], null::bytea[], v_cut, null::text[], null::integer[]
        from partition_head h cross join log_state s cross join lateral partition_end(h.partition_id) e
        where h.partition_id = p_partition and h.organization_id = p_organization and not h.deleted;
    if not found or v_start.base_offset is null then
        return;
    end if;

    return query
        select null::bigint, null::bigint, null::bigint, b.base_offset, b.event_count, b.size_bytes, b.appended_at, b.crc,
               b.ids, b.types, b.keys, b.times, b.content_types, b.headers, b.payloads, null::bigint, b.publishers,
               b.publisher_counts
        from (
            -- The limit comes first: the index does not know bytes, and would be read to the end of the partition.
            select * from event_batch x where x.partition_id = p_partition and x.base_offset >= v_start.base_offset
            order by x.base_offset limit p_max_rows
        ) b
        where b.base_offset = v_start.base_offset or b.bytes_before + b.size_bytes <= v_start.bytes_before + p_max_bytes
        order by b.base_offset;
end
$$;

-- Bounds of partitions, one index probe each. Unknown and deleted partitions are left out.
create function bounds_v1(p_partitions bigint[])
returns table (partition_id bigint, organization_id bigint, floor_offset bigint, head_offset bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select h.partition_id, h.organization_id, h.floor_offset, e.next_offset
    from unnest(p_partitions) as p(id)
    join partition_head h on h.partition_id = p.id and not h.deleted
    cross join lateral partition_end(h.partition_id) e
$$;

-- The first offset appended at a time or later; the head when there is none.
create function offset_at_time_v1(p_organization bigint, p_partition bigint, p_time timestamptz) returns bigint
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select greatest(h.floor_offset, coalesce(
        (select b.base_offset from event_batch b
         where b.partition_id = h.partition_id and b.appended_at >= p_time
         order by b.appended_at, b.base_offset limit 1),
        e.next_offset))
    from partition_head h cross join lateral partition_end(h.partition_id) e
    where h.partition_id = p_partition and h.organization_id = p_organization and not h.deleted
$$;

create function statistics_v1(p_organization bigint, p_stream bigint)
returns table (
    partition_index integer, floor_offset bigint, head_offset bigint, events bigint, bytes bigint, appended_at timestamptz
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select p.partition_index, h.floor_offset, e.next_offset, e.events - f.events, e.bytes - f.bytes, e.appended_at
    from stream_partition p
    join partition_head h on h.partition_id = p.partition_id and h.organization_id = p_organization
    cross join lateral partition_end(h.partition_id) e
    cross join lateral partition_before(h.partition_id, h.floor_offset) f
    where p.stream_id = p_stream and p.organization_id = p_organization
    order by p.partition_index
$$;

-- The public view of the log: one row an event. Readers see their own organization.
create view event with (security_invoker = true) as
select o.name as organization,
       s.name as stream,
       p.partition_index as partition,
       b.base_offset + e.ordinal - 1 as event_offset,
       b.base_offset >> 40 as log_epoch,
       coalesce(e.id, p.partition_index || '-' || (b.base_offset + e.ordinal - 1)) as id,
       coalesce(e.type, '') as type,
       e.key,
       coalesce(e.headers::jsonb, '{}') as headers,
       coalesce(e.content_type, '') as content_type,
       e.payload,
       payload_json(e.payload) as payload_json,
       coalesce(timestamptz 'epoch' + e.time * interval '1 microsecond', b.appended_at) as event_time,
       b.appended_at,
       publisher_at(b.publishers, b.publisher_counts, e.ordinal) as publisher
from event_batch b
join stream_partition p on p.partition_id = b.partition_id
join partition_head h on h.partition_id = b.partition_id
join stream s on s.stream_id = p.stream_id and s.deleted_at is null
join organization o on o.organization_id = s.organization_id
cross join lateral unnest(b.ids, b.types, b.keys, b.times, b.content_types, b.headers, b.payloads) with ordinality
    as e(id, type, key, time, content_type, headers, payload, ordinal)
where b.base_offset + e.ordinal - 1 >= h.floor_offset;
