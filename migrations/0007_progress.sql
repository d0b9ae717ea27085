-- Progress of groups: commits, seeks, lag, and what people look at.

create type commit_input_v1 as (
    organization_id bigint,
    group_id bigint,
    partition_id bigint,
    session_id uuid,
    log_epoch bigint,
    lease_epoch bigint,
    next_offset bigint
);

-- Where progress stands that was given as an offset of a life of the log that is over: at that offset, or at the end of what
-- survived of that life. Between the two there is nothing that anybody could have been given, and nowhere to read on from.
create function within_log(p_partition bigint, p_offset bigint, p_log_epoch bigint) returns bigint
language sql stable set search_path = eventflow, pg_temp
as $$
    select case when p_offset >> 40 < p_log_epoch then (
        select least(p_offset, greatest(h.end_offset, h.floor_offset, b.base_offset + b.event_count))
        from partition_head h
        left join lateral (
            select x.base_offset, x.event_count from event_batch x
            where x.partition_id = h.partition_id and x.base_offset < p_offset order by x.base_offset desc limit 1
        ) b on true
        where h.partition_id = p_partition
    ) else p_offset end
$$;

-- Verdicts in the order of the inputs: 'committed' with the durable value (which may be further), 'seek_fenced' when the session
-- still holds the partition under another epoch, 'member_fenced' in every other case. A fenced commit changes nothing.
create function commit_v1(p_commits commit_input_v1[])
returns table (ordinal integer, verdict text, next_offset bigint, lease_epoch bigint)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    perform 1 from consumer_offset o
    where (o.group_id, o.partition_id) in (select c.group_id, c.partition_id from unnest(p_commits) c)
    order by o.group_id, o.partition_id for update;
    update consumer_offset o set next_offset = t.target
    from unnest(p_commits) c cross join log_state s
    cross join lateral (select within_log(c.partition_id, c.next_offset, s.log_epoch) as target) t
    where o.group_id = c.group_id and o.partition_id = c.partition_id and o.organization_id = c.organization_id
      and o.session_id = c.session_id and o.lease_epoch = c.lease_epoch and s.log_epoch = c.log_epoch
      -- Progress never goes back, and what does not change is not written.
      and o.next_offset < t.target;
    return query
        select c.ordinal::integer,
               case when o.session_id is distinct from c.session_id or o.organization_id <> c.organization_id
                        then 'member_fenced'
                    when o.lease_epoch <> c.lease_epoch or s.log_epoch <> c.log_epoch then 'seek_fenced'
                    else 'committed' end,
               o.next_offset, o.lease_epoch
        from unnest(p_commits) with ordinality
             as c(organization_id, group_id, partition_id, session_id, log_epoch, lease_epoch, next_offset, ordinal)
        cross join log_state s
        left join consumer_offset o on o.group_id = c.group_id and o.partition_id = c.partition_id
        order by c.ordinal;
end
$$;

-- A session found the log cut away below its progress: counts what is lost to it and goes on at the floor, when it still holds
-- the partition. Returns the new offset, or null.
create function skip_truncated_v1(
    p_organization bigint, p_group bigint, p_partition bigint, p_session uuid, p_lease_epoch bigint
) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_floor bigint;
begin
    select floor_offset into v_floor from partition_head
    where partition_id = p_partition and organization_id = p_organization;
    update consumer_offset o
    set truncated_events = o.truncated_events + greatest(0,
            (select f.events from partition_before(p_partition, v_floor) f)
            - (select n.events from partition_before(p_partition, o.next_offset) n)),
        next_offset = v_floor
    where o.group_id = p_group and o.partition_id = p_partition and o.session_id = p_session
      and o.lease_epoch = p_lease_epoch and o.next_offset < v_floor;
    return v_floor;
end
$$;

-- Moves a group. Targets are checked against the bounds; nothing moves unless all are within. `p_dry_run` only answers.
create function seek_v1(p_organization bigint, p_group bigint, p_partitions bigint[], p_offsets bigint[], p_dry_run boolean)
returns table (
    partition_id bigint, partition_index integer, previous_offset bigint, next_offset bigint, replayed_events bigint,
    floor_offset bigint, head_offset bigint, within boolean, cleared_retries bigint
)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_within boolean;
begin
    perform 1 from group_state where group_id = p_group and organization_id = p_organization for update;
    if not found then
        return;
    end if;
    perform 1 from consumer_offset o where o.group_id = p_group and o.partition_id = any (p_partitions)
    order by o.partition_id for update;
    return query
        select o.partition_id, o.partition_index, o.next_offset, within_log(t.id, t.target, s.log_epoch),
               (select b.events from partition_before(o.partition_id, o.next_offset) b)
                   - (select b.events from partition_before(o.partition_id, t.target) b),
               h.floor_offset, e.next_offset, t.target between h.floor_offset and e.next_offset,
               (select count(*) from retry r where r.group_id = p_group and r.partition_id = t.id)
        from unnest(p_partitions, p_offsets) as t(id, target)
        join consumer_offset o on o.group_id = p_group and o.partition_id = t.id
        join partition_head h on h.partition_id = t.id
        cross join log_state s cross join lateral partition_end(t.id) e
        order by o.partition_index;
    select bool_and(t.target between h.floor_offset and e.next_offset) into v_within
    from unnest(p_partitions, p_offsets) as t(id, target)
    join partition_head h on h.partition_id = t.id
    cross join lateral partition_end(t.id) e;
    if p_dry_run or not coalesce(v_within, false) then
        return;
    end if;
    update consumer_offset o
    set next_offset = within_log(t.id, t.target, s.log_epoch), start_offset = within_log(t.id, t.target, s.log_epoch),
        lease_epoch = o.lease_epoch + 1, claim_offset = null,
        in_place_offset = null,
        -- What a pool knows of the keys of the partition is over: it takes it again.
        dispatcher = null, dispatcher_broker = null
    from unnest(p_partitions, p_offsets) as t(id, target) cross join log_state s
    where o.group_id = p_group and o.partition_id = t.id;
    -- Whoever holds these is fenced: their outcomes find nothing.
    delete from group_claim c where c.group_id = p_group and c.partition_id = any (p_partitions);
    delete from retry r where r.group_id = p_group and r.partition_id = any (p_partitions);
    update group_state set version = version + 1 where group_id = p_group;
end
$$;

create function pause_v1(p_organization bigint, p_group bigint, p_paused boolean) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update group_state set paused = p_paused, version = version + 1
    where group_id = p_group and organization_id = p_organization
$$;

create function lag_v1(p_organization bigint, p_group bigint)
returns table (
    partition_index integer, next_offset bigint, floor_offset bigint, head_offset bigint, lag_events bigint,
    lag_seconds double precision, member_name text, lease_epoch bigint, truncated_events bigint
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select o.partition_index, o.next_offset, h.floor_offset, e.next_offset,
           greatest(0, e.events - p.events),
           coalesce((
               -- Database time minus the append time of the next event.
               select greatest(0, extract(epoch from clock_timestamp() - b.appended_at))
               from event_batch b
               where b.partition_id = o.partition_id and e.events > p.events
                 and b.base_offset + b.event_count > greatest(o.next_offset, h.floor_offset)
                 and b.base_offset >= coalesce((
                     select x.base_offset from event_batch x
                     where x.partition_id = o.partition_id and x.base_offset <= greatest(o.next_offset, h.floor_offset)
                     order by x.base_offset desc limit 1), 0)
               order by b.base_offset limit 1), 0)::double precision,
           coalesce(o.member_name, ''), o.lease_epoch, o.truncated_events
    from consumer_offset o
    join partition_head h on h.partition_id = o.partition_id
    cross join lateral partition_end(o.partition_id) e
    cross join lateral partition_before(o.partition_id, greatest(o.next_offset, h.floor_offset)) p
    where o.group_id = p_group and o.organization_id = p_organization
    order by o.partition_index
$$;

-- The lag of groups of any organization, for the broker's own metrics.
create function group_lags_v1(p_groups bigint[])
returns table (
    group_id bigint, organization text, stream text, consumer_group text, lag_events bigint, lag_seconds double precision
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select c.group_id, o.name, s.name, c.name, coalesce(l.events, 0)::bigint, coalesce(l.seconds, 0)
    from consumer_group c
    join stream s on s.stream_id = c.stream_id
    join organization o on o.organization_id = c.organization_id
    cross join lateral (
        select sum(p.lag_events) as events, max(p.lag_seconds) as seconds from lag_v1(c.organization_id, c.group_id) p
    ) l
    where c.group_id = any (p_groups)
$$;

create function members_v1(p_organization bigint, p_group bigint)
returns table (
    member_name text, broker text, client text, client_address text, joined_at timestamptz, connected boolean,
    partition_indexes integer[]
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select m.member_name, coalesce(b.name, ''), m.client, m.client_address, m.joined_at, m.detached_until is null,
           coalesce((select array_agg(o.partition_index order by o.partition_index) from consumer_offset o
                     where o.group_id = m.group_id and o.member_name = m.member_name), '{}')
    from group_member m left join broker b on b.broker_id = m.broker_id
    where m.group_id = p_group and m.organization_id = p_organization
    order by m.member_name
$$;

create function group_summary_v1(p_organization bigint, p_groups bigint[])
returns table (group_id bigint, generation bigint, paused boolean, members bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select g.group_id, g.generation, g.paused, (select count(*) from group_member m where m.group_id = g.group_id)
    from group_state g where g.group_id = any (p_groups) and g.organization_id = p_organization
$$;

-- Where the session of a member lives, for a Commit stream that reached another broker. One whose stream has ended lives nowhere,
-- although the member keeps its partitions for the grace.
create function session_broker_v1(p_session uuid) returns table (organization_id bigint, name text, address text)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select m.organization_id, b.name, b.address from group_member m join broker b on b.broker_id = m.broker_id
    where m.session_id = p_session and m.detached_until is null
$$;
