-- Consumer groups: the noun (cold), and what changes while members come and go.
--
-- The group's row in group_state is its mutex: everything that changes members or leases locks it first, then the partitions'
-- rows in ascending order. Commits lock only the partitions' rows, in the order (group, partition).

create table consumer_group (
    group_id bigint generated always as identity primary key,
    organization_id bigint not null references organization,
    stream_id bigint not null,
    name text not null,
    description text not null default '',
    delivery_mode text not null constraint consumer_group_mode check (delivery_mode in ('ordered')),
    on_truncated text not null constraint consumer_group_on_truncated check (on_truncated in ('continue', 'stop')),
    drain_ms bigint not null constraint consumer_group_drain_range check (drain_ms between 0 and 300000),
    labels jsonb not null default '{}',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint consumer_group_name_key unique (organization_id, name)
);
create index consumer_group_stream on consumer_group (stream_id);

create table group_state (
    group_id bigint primary key,
    organization_id bigint not null,
    -- Raised when members or partitions change; an assignment is made for one generation.
    generation bigint not null default 0,
    assigned_generation bigint not null default 0,
    -- Raised by everything that a broker with members must know of.
    version bigint not null default 0,
    paused boolean not null default false
) with (fillfactor = 50);

-- One row a broker process: its lease. A restarted broker is another incarnation.
create table broker (
    broker_id uuid primary key,
    name text not null,
    address text not null,
    version text not null,
    started_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
) with (fillfactor = 50);

create table group_member (
    group_id bigint not null,
    member_name text not null,
    organization_id bigint not null,
    session_id uuid not null,
    broker_id uuid not null,
    client text not null,
    client_address text not null,
    joined_at timestamptz not null default clock_timestamp(),
    -- Set while the stream is broken and the grace runs.
    detached_until timestamptz,
    primary key (group_id, member_name)
);
create index group_member_broker on group_member (broker_id);
create index group_member_detached on group_member (detached_until) where detached_until is not null;

create table consumer_offset (
    group_id bigint not null,
    partition_id bigint not null,
    organization_id bigint not null,
    partition_index integer not null,
    next_offset bigint not null,
    -- Where the group began, or was last moved to; null: at the floor.
    start_offset bigint,
    -- The number that fences: raised whenever the holder changes, re-attaches, or is moved.
    lease_epoch bigint not null default 0,
    -- Who holds the partition; null when nobody does.
    member_name text,
    session_id uuid,
    -- Who shall have it next, and by when the holder must have let go.
    target_member text,
    drain_deadline timestamptz,
    -- Events that were removed before the group had read them, ever.
    truncated_events bigint not null default 0,
    -- The next offset that no broker has claimed, in a shared group; null: `next_offset`.
    claim_offset bigint,
    -- The event that is being retried in place, in an ordered group; without meaning below `next_offset`.
    in_place_offset bigint,
    -- In a shared group that keeps the order of keys: which pool hands everything of the partition out, and its broker.
    dispatcher uuid,
    dispatcher_broker uuid,
    -- Raised whenever a pool takes the partition: what it knew of an earlier time does not count.
    dispatch_epoch bigint not null default 0,
    primary key (group_id, partition_id)
) with (fillfactor = 50);
create index consumer_offset_dispatched on consumer_offset (dispatcher_broker) where dispatcher_broker is not null;
create index consumer_offset_draining on consumer_offset (drain_deadline) where drain_deadline is not null;

-- A new group's progress, resolved to offsets now.
create function create_progress_v1(
    p_organization bigint, p_group bigint, p_stream bigint, p_start text, p_time timestamptz
) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    insert into group_state (group_id, organization_id) values (p_group, p_organization);
    insert into consumer_offset (group_id, partition_id, organization_id, partition_index, next_offset, start_offset)
    select p_group, p.partition_id, p_organization, p.partition_index, s.start_offset, s.start_offset
    from stream_partition p
    join partition_head h on h.partition_id = p.partition_id
    cross join lateral partition_end(p.partition_id) e
    cross join lateral (
        select case p_start when 'latest' then e.next_offset
                            when 'time' then offset_at_time_v1(p_organization, p.partition_id, p_time)
                            else h.floor_offset end as start_offset
    ) s
    where p.stream_id = p_stream and p.organization_id = p_organization
$$;

-- Returns how many members it had, counted under the group's lock.
create function drop_progress_v1(p_organization bigint, p_group bigint) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_members bigint;
begin
    delete from group_state where group_id = p_group and organization_id = p_organization;
    delete from group_member where group_id = p_group and organization_id = p_organization;
    get diagnostics v_members = row_count;
    -- In the order in which commits lock.
    perform 1 from consumer_offset where group_id = p_group and organization_id = p_organization
    order by partition_id for update;
    delete from consumer_offset where group_id = p_group and organization_id = p_organization;
    delete from group_dispatcher where group_id = p_group and organization_id = p_organization;
    delete from group_claim where group_id = p_group and organization_id = p_organization;
    delete from retry where group_id = p_group and organization_id = p_organization;
    delete from dead_letter_event where group_id = p_group and organization_id = p_organization;
    delete from redrive where group_id = p_group and organization_id = p_organization;
    return v_members;
end
$$;

-- Broker leases -----------------------------------------------------------------------------------------------------------

create function broker_start_v1(p_broker uuid, p_name text, p_address text, p_version text, p_ttl_ms bigint) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    insert into broker (broker_id, name, address, version, expires_at)
    values (p_broker, p_name, p_address, p_version, clock_timestamp() + p_ttl_ms * interval '1 millisecond')
$$;

-- False: the lease was swept, and everything that hung on it is gone.
create function broker_renew_v1(p_broker uuid, p_ttl_ms bigint) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    update broker set expires_at = clock_timestamp() + p_ttl_ms * interval '1 millisecond' where broker_id = p_broker;
    return found;
end
$$;

create function broker_stop_v1(p_broker uuid) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    -- Its members have left their streams with a grace of their own; the lease outlives that, so that a rolling restart moves
    -- nothing.
    update broker set expires_at = clock_timestamp() + interval '4 seconds' where broker_id = p_broker
$$;

-- Membership --------------------------------------------------------------------------------------------------------------

-- Outcomes: 'joined', 'reattached', 'group_not_found', 'too_many_members', 'broker_expired'. With the log epoch and the group's
-- version after it: a snapshot of an earlier version knows nothing of it.
create function join_v1(
    p_organization bigint, p_group bigint, p_member text, p_session uuid, p_broker uuid, p_client text,
    p_client_address text, p_members_max integer
) returns table (outcome text, version bigint, log_epoch bigint)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    perform 1 from group_state g where g.group_id = p_group and g.organization_id = p_organization for update;
    if not found then
        return query select 'group_not_found', 0::bigint, 0::bigint;
        return;
    end if;
    perform 1 from broker where broker_id = p_broker and expires_at > clock_timestamp() for share;
    if not found then
        return query select 'broker_expired', 0::bigint, 0::bigint;
        return;
    end if;
    update group_member
    set session_id = p_session, broker_id = p_broker, client = p_client, client_address = p_client_address,
        detached_until = null
    where group_id = p_group and member_name = p_member;
    if found then
        -- The old stream of this name, wherever it is, is fenced by the new epoch.
        update consumer_offset set session_id = p_session, lease_epoch = lease_epoch + 1
        where group_id = p_group and member_name = p_member;
        -- While it was away it got nothing new: balance may want something for it now.
        return query update group_state g set generation = g.generation + 1, version = g.version + 1
            where g.group_id = p_group returning 'reattached', g.version, (select s.log_epoch from log_state s);
        return;
    end if;
    if (select count(*) from group_member where group_id = p_group) >= p_members_max then
        return query select 'too_many_members', 0::bigint, 0::bigint;
        return;
    end if;
    insert into group_member (group_id, member_name, organization_id, session_id, broker_id, client, client_address)
    values (p_group, p_member, p_organization, p_session, p_broker, p_client, p_client_address);
    return query update group_state g set generation = g.generation + 1, version = g.version + 1
        where g.group_id = p_group returning 'joined', g.version, (select s.log_epoch from log_state s);
end
$$;

-- Frees what the member holds. The caller holds the group's lock.
create function free_member(p_group bigint, p_member text) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update consumer_offset
    set member_name = null, session_id = null, lease_epoch = lease_epoch + 1, target_member = null, drain_deadline = null
    where group_id = p_group and member_name = p_member;
    update consumer_offset set target_member = null, drain_deadline = null
    where group_id = p_group and target_member = p_member;
    delete from group_member where group_id = p_group and member_name = p_member;
    update group_state set generation = generation + 1, version = version + 1 where group_id = p_group
$$;

create function leave_v1(p_organization bigint, p_group bigint, p_session uuid) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_member text;
begin
    perform 1 from group_state where group_id = p_group and organization_id = p_organization for update;
    select member_name into v_member from group_member where group_id = p_group and session_id = p_session;
    if not found then
        return false;
    end if;
    perform free_member(p_group, v_member);
    return true;
end
$$;

-- The stream broke: the member keeps its partitions for the grace.
create function detach_v1(p_organization bigint, p_group bigint, p_session uuid, p_grace_ms bigint) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    update group_member set detached_until = clock_timestamp() + p_grace_ms * interval '1 millisecond'
    where group_id = p_group and organization_id = p_organization and session_id = p_session;
    return found;
end
$$;

-- Everything that a broker needs to know of a group, from one snapshot. No row: the group is gone.
create function group_snapshot_v1(p_group bigint)
returns table (
    organization_id bigint, generation bigint, assigned_generation bigint, version bigint, paused boolean, log_epoch bigint,
    member_names text[], member_sessions uuid[],
    partition_ids bigint[], partition_indexes integer[], next_offsets bigint[], lease_epochs bigint[], holders text[],
    holder_sessions uuid[], targets text[], drain_ms_left bigint[], in_place boolean[], members_away boolean[]
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select g.organization_id, g.generation, g.assigned_generation, g.version, g.paused, s.log_epoch,
           m.names, m.sessions, o.*, m.away
    from group_state g
    cross join log_state s
    cross join lateral (
        select coalesce(array_agg(member_name order by member_name), '{}') as names,
               coalesce(array_agg(session_id order by member_name), '{}') as sessions,
               coalesce(array_agg(detached_until is not null order by member_name), '{}') as away
        from group_member where group_id = g.group_id
    ) m
    cross join lateral (
        select coalesce(array_agg(partition_id order by partition_index), '{}'),
               coalesce(array_agg(partition_index order by partition_index), '{}'),
               coalesce(array_agg(next_offset order by partition_index), '{}'),
               coalesce(array_agg(lease_epoch order by partition_index), '{}'),
               coalesce(array_agg(member_name order by partition_index), '{}'),
               coalesce(array_agg(session_id order by partition_index), '{}'),
               coalesce(array_agg(target_member order by partition_index), '{}'),
               coalesce(array_agg(
                   (extract(epoch from drain_deadline - clock_timestamp()) * 1000)::bigint order by partition_index), '{}'),
               coalesce(array_agg(in_place_offset is not distinct from next_offset order by partition_index), '{}')
        from consumer_offset where group_id = g.group_id
    ) o
    where g.group_id = p_group
$$;

-- Versions of groups, for the poll. A group that is gone is left out.
create function group_versions_v1(p_groups bigint[]) returns table (group_id bigint, version bigint, unassigned boolean)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select g.group_id, g.version, g.generation <> g.assigned_generation
    from group_state g where g.group_id = any (p_groups)
$$;

-- Applies an assignment that was computed for a generation. False: the group has changed since, compute again.
create function assign_v1(
    p_group bigint, p_generation bigint, p_partitions bigint[], p_members text[]
) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_drain_ms bigint;
    v_mode text;
begin
    perform 1 from group_state where group_id = p_group and generation = p_generation for update;
    if not found then
        return false;
    end if;
    select drain_ms, delivery_mode into v_drain_ms, v_mode from consumer_group where group_id = p_group;
    if v_mode <> 'ordered' then
        -- Partitions of a shared group belong to nobody: brokers claim offsets.
        update group_state set assigned_generation = p_generation, version = version + 1 where group_id = p_group;
        return true;
    end if;
    perform 1 from consumer_offset where group_id = p_group order by partition_id for update;
    update consumer_offset o
    set member_name = case when o.member_name is null then m.member_name else o.member_name end,
        session_id = case when o.member_name is null then m.session_id else o.session_id end,
        lease_epoch = case when o.member_name is null then o.lease_epoch + 1 else o.lease_epoch end,
        -- The holder lets go first: announced, drained, released.
        target_member = case when o.member_name is null or o.member_name = m.member_name then null else m.member_name end,
        drain_deadline = case when o.member_name is null or o.member_name = m.member_name then null
                              else coalesce(o.drain_deadline,
                                            clock_timestamp() + v_drain_ms * interval '1 millisecond') end
    from unnest(p_partitions, p_members) as t(partition_id, member_name)
    join group_member m on m.group_id = p_group and m.member_name = t.member_name
    where o.group_id = p_group and o.partition_id = t.partition_id
      and (o.member_name is distinct from m.member_name or o.target_member is not null);
    update group_state set assigned_generation = p_generation, version = version + 1 where group_id = p_group;
    return true;
end
$$;

-- Hands partitions over to their targets. The caller holds the group's lock.
create function hand_over(p_group bigint, p_partitions bigint[]) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_orphans bigint;
begin
    perform 1 from consumer_offset where group_id = p_group and partition_id = any (p_partitions)
    order by partition_id for update;
    update consumer_offset o
    set member_name = m.member_name, session_id = m.session_id, lease_epoch = o.lease_epoch + 1,
        target_member = null, drain_deadline = null
    from consumer_offset p
    left join group_member m on m.group_id = p_group and m.member_name = p.target_member
    where o.group_id = p_group and o.partition_id = any (p_partitions)
      and p.group_id = o.group_id and p.partition_id = o.partition_id;
    select count(*) into v_orphans from consumer_offset
    where group_id = p_group and partition_id = any (p_partitions) and member_name is null;
    -- A partition that nobody was to get needs another assignment.
    update group_state set version = version + 1, generation = generation + (v_orphans > 0)::integer
    where group_id = p_group;
end
$$;

-- A session gives partitions up that are being taken from it (others are left alone). Returns those that went.
create function release_v1(p_organization bigint, p_group bigint, p_session uuid, p_partitions bigint[]) returns bigint[]
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_held bigint[];
begin
    perform 1 from group_state where group_id = p_group and organization_id = p_organization for update;
    select coalesce(array_agg(partition_id), '{}') into v_held from consumer_offset
    where group_id = p_group and session_id = p_session and partition_id = any (p_partitions)
      and drain_deadline is not null;
    if cardinality(v_held) > 0 then
        perform hand_over(p_group, v_held);
    end if;
    return v_held;
end
$$;

-- Sweeps what time has taken: members of brokers whose lease ran out, members whose grace is over, partitions whose holder did
-- not let go. One sweeper at a time. Returns the groups that changed.
create function sweep_v1(p_slack_ms bigint) returns setof bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_dead uuid[];
    v_gone record;
    v_drained record;
begin
    if not pg_try_advisory_xact_lock(hashtext('eventflow.sweep')) then
        return;
    end if;
    -- Skip a row that its broker is renewing at this moment: it lives.
    select coalesce(array_agg(broker_id), '{}') into v_dead from (
        select broker_id from broker where expires_at < clock_timestamp() for update skip locked
    ) d;
    for v_gone in
        select group_id, array_agg(member_name) as members from group_member
        where broker_id = any (v_dead) or detached_until < clock_timestamp()
        group by group_id order by group_id
    loop
        perform 1 from group_state where group_id = v_gone.group_id for update;
        -- Again under the lock: the member may have come back meanwhile.
        perform free_member(m.group_id, m.member_name) from group_member m
        where m.group_id = v_gone.group_id and m.member_name = any (v_gone.members)
          and (m.broker_id = any (v_dead) or m.detached_until < clock_timestamp());
        return next v_gone.group_id;
    end loop;
    -- Partitions before claims, as everywhere.
    perform 1 from consumer_offset o where o.dispatcher_broker = any (v_dead) order by o.group_id, o.partition_id for update;
    update consumer_offset set dispatcher = null, dispatcher_broker = null where dispatcher_broker = any (v_dead);
    delete from group_dispatcher where broker_id = any (v_dead);
    -- What they handed out comes to others under higher epochs; nothing of it counts as an attempt.
    update group_claim set holder = null, broker_id = null where broker_id = any (v_dead);
    update retry set holder = null, broker_id = null, due_at = clock_timestamp() where broker_id = any (v_dead);
    delete from broker where broker_id = any (v_dead);
    for v_drained in
        select group_id, array_agg(partition_id) as partitions from consumer_offset
        where drain_deadline < clock_timestamp() - p_slack_ms * interval '1 millisecond'
        group by group_id order by group_id
    loop
        perform 1 from group_state where group_id = v_drained.group_id for update;
        perform hand_over(v_drained.group_id, array(
            select partition_id from consumer_offset
            where group_id = v_drained.group_id and partition_id = any (v_drained.partitions)
              and drain_deadline < clock_timestamp() - p_slack_ms * interval '1 millisecond'));
        return next v_drained.group_id;
    end loop;
end
$$;
