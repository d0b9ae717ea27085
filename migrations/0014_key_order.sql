-- Per-key order in shared groups.
--
-- For a key, event n + 1 is delivered only when n is acknowledged, dead-lettered or filtered. That holds because one pool at a time
-- has all claims and retries of a partition (its dispatcher), takes claims in the order of their offsets, and knows which keys have
-- something on its way. What must wait for long because an earlier event of its key is tried again is parked: moved out of its claim
-- into `retry`, with a copy. Rows of a key in `retry` precede whatever of the key is in claims, but for redriven ones, which only
-- never come together with another event of their key.

-- Pools that hand out events of a group which keeps the order of keys. Each asks every half second, which keeps its row fresh.
create table group_dispatcher (
    group_id bigint not null,
    holder uuid not null,
    organization_id bigint not null,
    broker_id uuid not null,
    asked_at timestamptz not null,
    -- The key of this pool for which the most events wait; null: none waits.
    hot_partition integer,
    hot_key text,
    hot_events bigint,
    -- The event that they wait for.
    hot_offset bigint,
    primary key (group_id, holder)
) with (fillfactor = 50);
create index group_dispatcher_broker on group_dispatcher (broker_id);

-- An event that is moved out of its claim. Without a time it waits for an earlier one of its key; with one (microseconds since 1970)
-- it is due then.
create type aside_input_v1 as (
    partition_id bigint,
    event_offset bigint,
    from_offset bigint,
    lease_epoch bigint,
    due_at_us bigint
);

-- Takes what is free of a group's partitions up to a fair share, and says which of them the pool has now, and how many it should
-- give up. No row: the broker's lease ran out.
create function dispatch_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_broker uuid,
    p_hot_partition integer, p_hot_key text, p_hot_events bigint, p_hot_offset bigint
) returns table (partition_ids bigint[], epochs bigint[], excess integer)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_pools bigint;
    v_partitions bigint;
    v_mine bigint;
    v_excess bigint;
begin
    perform 1 from broker b where b.broker_id = p_broker and b.expires_at > clock_timestamp() for key share;
    if not found then
        return;
    end if;
    insert into group_dispatcher as d (
        group_id, holder, organization_id, broker_id, asked_at, hot_partition, hot_key, hot_events, hot_offset)
    select p_group, p_holder, p_organization, p_broker, clock_timestamp(), p_hot_partition, p_hot_key, p_hot_events, p_hot_offset
    from group_state g where g.group_id = p_group and g.organization_id = p_organization
    on conflict (group_id, holder) do update
    set asked_at = excluded.asked_at, hot_partition = excluded.hot_partition, hot_key = excluded.hot_key,
        hot_events = excluded.hot_events, hot_offset = excluded.hot_offset;
    -- One that has not asked for so long has gone, or hangs: nothing is kept for it.
    select count(*) into v_pools from group_dispatcher d
    where d.group_id = p_group and d.asked_at > clock_timestamp() - interval '5 seconds';
    select count(*), count(*) filter (where o.dispatcher = p_holder) into v_partitions, v_mine from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization;
    v_pools := greatest(v_pools, 1);
    if v_mine * v_pools < v_partitions then
        update consumer_offset o
        set dispatcher = p_holder, dispatcher_broker = p_broker, dispatch_epoch = o.dispatch_epoch + 1
        where o.group_id = p_group and o.partition_id in (
            select x.partition_id from consumer_offset x
            where x.group_id = p_group and x.organization_id = p_organization and x.dispatcher is null
            order by x.partition_id limit (v_partitions + v_pools - 1) / v_pools - v_mine for update skip locked);
        v_excess := 0;
    else
        v_excess := greatest(0, v_mine - (v_partitions + v_pools - 1) / v_pools);
        -- All have their share, rounded up, and yet one lacks what another has above the share rounded down.
        if v_excess = 0 and v_mine > v_partitions / v_pools and exists (
            select 1 from group_dispatcher d
            where d.group_id = p_group and d.asked_at > clock_timestamp() - interval '5 seconds'
              and (select count(*) from consumer_offset o where o.group_id = p_group and o.dispatcher = d.holder)
                  < v_partitions / v_pools
        ) and not exists (select 1 from consumer_offset o where o.group_id = p_group and o.dispatcher is null) then
            v_excess := 1;
        end if;
    end if;
    return query
        select coalesce(array_agg(o.partition_id order by o.partition_id), '{}'),
               coalesce(array_agg(o.dispatch_epoch order by o.partition_id), '{}'), v_excess::integer
        from consumer_offset o
        where o.group_id = p_group and o.organization_id = p_organization and o.dispatcher = p_holder;
end
$$;

-- Lets partitions go with what is claimed and taken of them, uncounted. Null: all of them, for good.
create function let_go_v1(p_organization bigint, p_group bigint, p_holder uuid, p_partitions bigint[]) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    perform 1 from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization and o.dispatcher = p_holder
      and (p_partitions is null or o.partition_id = any (p_partitions))
    order by o.partition_id for update;
    update group_claim c set holder = null, broker_id = null
    where c.group_id = p_group and c.organization_id = p_organization and c.holder = p_holder
      and (p_partitions is null or c.partition_id = any (p_partitions));
    update retry r set holder = null, broker_id = null, due_at = clock_timestamp()
    where r.group_id = p_group and r.organization_id = p_organization and r.holder = p_holder
      and (p_partitions is null or r.partition_id = any (p_partitions));
    update consumer_offset o set dispatcher = null, dispatcher_broker = null
    where o.group_id = p_group and o.organization_id = p_organization and o.dispatcher = p_holder
      and (p_partitions is null or o.partition_id = any (p_partitions));
    if p_partitions is null then
        delete from group_dispatcher d where d.group_id = p_group and d.holder = p_holder;
    end if;
end
$$;

-- What stands in the way of keys of a partition: their rows in `retry`. The caller dispatches the partition, otherwise: no row. The
-- first row says so, and has no key.
create function key_rows_v1(p_organization bigint, p_group bigint, p_holder uuid, p_partition bigint)
returns table (key text, event_offset bigint, parked boolean)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select null, 0::bigint, false from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = p_partition
      and o.dispatcher = p_holder
    union all
    select r.key, r.event_offset, r.parked
    from consumer_offset o
    join retry r on r.group_id = o.group_id and r.partition_id = o.partition_id and r.key_ordered
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = p_partition
      and o.dispatcher = p_holder
$$;

-- Moves events out of claims that are held into `retry`, each with a copy, uncounted. Answers the places of those whose claim is
-- not held: they changed nothing. The same call again changes nothing.
create function set_aside_v1(p_organization bigint, p_group bigint, p_holder uuid, p_asides aside_input_v1[]) returns integer[]
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_lost integer[];
    v_partition bigint;
    v_key_order boolean;
begin
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    perform 1 from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization
      and o.partition_id in (select a.partition_id from unnest(p_asides) a)
    order by o.partition_id for update;
    perform 1 from group_claim c
    where c.group_id = p_group and (c.partition_id, c.from_offset) in (select a.partition_id, a.from_offset from unnest(p_asides) a)
    order by c.partition_id, c.from_offset for update;
    select coalesce(array_agg(a.place::integer), '{}') into v_lost
    from unnest(p_asides) with ordinality as a(partition_id, event_offset, from_offset, lease_epoch, due_at_us, place)
    where not exists (
        select 1 from group_claim c
        where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = a.partition_id
          and c.from_offset = a.from_offset and c.lease_epoch = a.lease_epoch and c.holder = p_holder);
    select g.key_order into v_key_order from consumer_group g where g.group_id = p_group;
    -- As in settle_v1.
    with first as materialized (
        select x.partition_id, array_agg(x.event_offset) as offsets
        from unnest(p_asides) x
        join group_claim c on c.group_id = p_group and c.organization_id = p_organization and c.partition_id = x.partition_id
            and c.from_offset = x.from_offset and c.lease_epoch = x.lease_epoch and c.holder = p_holder
        where not c.done @> x.event_offset
        group by x.partition_id
    ), copied as materialized (
        select g.partition_id, e.* from first g cross join lateral event_copy(g.partition_id, g.offsets) e
    )
    insert into retry (
        group_id, partition_id, event_offset, organization_id, attempts, due_at, lost_only, alone, reason, error_class, history,
        key_ordered, parked, appended_at, publisher, id, type, key, event_time, content_type, headers, payload)
    select p_group, e.partition_id, e.event_offset, p_organization, 0,
           coalesce('epoch'::timestamptz + a.due_at_us * interval '1 microsecond', clock_timestamp()), false, false, '', '', '[]',
           v_key_order and e.key is not null, a.due_at_us is null, e.appended_at, e.publisher, e.id, e.type, e.key, e.event_time,
           e.content_type, e.headers, e.payload
    from copied e
    join unnest(p_asides) a on a.partition_id = e.partition_id and a.event_offset = e.event_offset
    on conflict do nothing;
    update group_claim c set done = c.done + d.done
    from (
        select a.partition_id, a.from_offset, a.lease_epoch,
               range_agg(int8range(a.event_offset, a.event_offset + 1)) as done
        from unnest(p_asides) a group by 1, 2, 3
    ) d
    where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = d.partition_id
      and c.from_offset = d.from_offset and c.lease_epoch = d.lease_epoch and c.holder = p_holder;
    for v_partition in
        with finished as (
            delete from group_claim c
            where c.group_id = p_group and c.holder = p_holder and c.done @> int8range(c.from_offset, c.to_offset)
              and (c.partition_id, c.from_offset) in (select a.partition_id, a.from_offset from unnest(p_asides) a)
            returning c.partition_id
        )
        select distinct f.partition_id from finished f order by 1
    loop
        perform raise_progress(p_group, v_partition);
    end loop;
    return v_lost;
end
$$;

-- Lets the next events of keys go that were parked, the lowest first, when none of the key is on its way to another attempt.
create function unpark_v1(p_organization bigint, p_group bigint, p_holder uuid, p_partitions bigint[], p_keys text[], p_limit integer)
returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    perform 1 from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = any (p_partitions)
    order by o.partition_id for update;
    update retry r set parked = false, due_at = clock_timestamp()
    from (
        select o.partition_id, n.event_offset
        from (select distinct u.id, u.key from unnest(p_partitions, p_keys) as u(id, key)) k
        join consumer_offset o on o.group_id = p_group and o.organization_id = p_organization and o.partition_id = k.id
            and o.dispatcher = p_holder
        cross join lateral (
            select x.event_offset, x.parked from retry x
            where x.group_id = p_group and x.partition_id = k.id and x.key = k.key and x.key_ordered
            order by x.event_offset limit p_limit
        ) n
        where n.parked and not exists (
            select 1 from retry x
            where x.group_id = p_group and x.partition_id = k.id and x.key = k.key and x.key_ordered and not x.parked
              -- What was let go before has lower offsets.
              and x.event_offset < n.event_offset)
    ) n
    where r.group_id = p_group and r.partition_id = n.partition_id and r.event_offset = n.event_offset;
end
$$;

-- The keys of a group for which the most events wait, one of each pool.
create function hot_keys_v1(p_organization bigint, p_group bigint)
returns table (partition_index integer, key text, waiting_events bigint, behind_offset bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select d.hot_partition, d.hot_key, d.hot_events, d.hot_offset from group_dispatcher d
    where d.group_id = p_group and d.organization_id = p_organization and d.hot_events > 0
      and d.asked_at > clock_timestamp() - interval '5 seconds'
    order by d.hot_events desc, d.hot_partition
$$;

revoke execute on function dispatch_v1(bigint, bigint, uuid, uuid, integer, text, bigint, bigint),
    let_go_v1(bigint, bigint, uuid, bigint[]), key_rows_v1(bigint, bigint, uuid, bigint),
    set_aside_v1(bigint, bigint, uuid, aside_input_v1[]), unpark_v1(bigint, bigint, uuid, bigint[], text[], integer),
    hot_keys_v1(bigint, bigint) from public;
grant execute on function dispatch_v1(bigint, bigint, uuid, uuid, integer, text, bigint, bigint),
    let_go_v1(bigint, bigint, uuid, bigint[]), key_rows_v1(bigint, bigint, uuid, bigint),
    set_aside_v1(bigint, bigint, uuid, aside_input_v1[]), unpark_v1(bigint, bigint, uuid, bigint[], text[], integer),
    hot_keys_v1(bigint, bigint) to eventflow_broker;
