-- Outcomes of single events: how a group treats failures, claims of shared groups, retries, dead letters.
--
-- Locks are taken in the order group, partitions (ascending), claims, retries. What is free is taken with SKIP LOCKED, so that
-- nobody who holds a claim or a retry waits for somebody who holds its partition.

-- Widened without a table scan of old rows: every row satisfies the new check.
alter table consumer_group drop constraint consumer_group_mode;
alter table consumer_group
    add column ack_timeout_ms bigint not null default 30000
        constraint consumer_group_ack_timeout_range check (ack_timeout_ms between 1000 and 3600000),
    add column retry_initial_ms bigint not null default 1000
        constraint consumer_group_retry_initial_range check (retry_initial_ms between 10 and 3600000),
    add column retry_multiplier double precision not null default 2
        constraint consumer_group_retry_multiplier_range check (retry_multiplier between 1 and 10),
    add column retry_max_ms bigint not null default 300000
        constraint consumer_group_retry_max_range check (retry_max_ms between retry_initial_ms and 86400000),
    add column max_attempts integer not null default 10
        constraint consumer_group_attempts_range check (max_attempts between 1 and 1000000),
    add column on_failure text not null default 'block'
        constraint consumer_group_on_failure check (on_failure in ('block', 'skip', 'dead_letter')),
    -- At most one event of a key is on its way at a time, in the order of the log.
    add column key_order boolean not null default false,
    add constraint consumer_group_key_order check (delivery_mode = 'shared' or not key_order),
    add constraint consumer_group_mode check (delivery_mode in ('ordered', 'shared'));

-- Offsets of a shared group that one broker hands out to its members. What lies below the lowest claim is done.
create table group_claim (
    group_id bigint not null,
    partition_id bigint not null,
    from_offset bigint not null,
    to_offset bigint not null,
    organization_id bigint not null,
    -- The number that fences: from the partition's own, raised with every claim.
    lease_epoch bigint not null,
    -- Who hands it out, and its broker; null when nobody does.
    holder uuid,
    broker_id uuid,
    -- What is done of it: acknowledged, or moved to `retry` or `dead_letter_event`.
    done int8multirange not null default '{}',
    primary key (group_id, partition_id, from_offset)
) with (fillfactor = 50);
create index group_claim_broker on group_claim (broker_id) where broker_id is not null;

-- The last edit, and what the event was appended with of that which edits change. `edited_at` says whether there is one: a
-- composite with a null among its fields is neither null nor not null.
create type dead_letter_edit as (
    editor text,
    edited_at timestamptz,
    payload bytea,
    headers text,
    content_type text
);

-- Failed events on their way to another attempt, each with a copy of itself: neither needs the log again.
create table retry (
    group_id bigint not null,
    partition_id bigint not null,
    event_offset bigint not null,
    organization_id bigint not null,
    -- Failed attempts so far.
    attempts integer not null,
    -- Whatever makes it free to be taken sets this to that time: pools look only at what fell due since they looked last.
    due_at timestamptz not null,
    -- Delivered by the partition's holder before everything that stands behind it.
    in_place boolean not null default false,
    -- Every attempt failed because a stream was lost; the next one is the event's alone.
    lost_only boolean not null,
    alone boolean not null,
    -- Who hands it out, as with claims.
    lease_epoch bigint not null default 0,
    holder uuid,
    broker_id uuid,
    reason text not null,
    error_class text not null,
    -- The newest attempts: [{"attempt", "at_us", "member", "reason", "error_class", "duration_ms", "trace_id"}].
    history jsonb not null,
    -- It was a dead letter, and somebody gave it back.
    redriven boolean not null default false,
    -- With which redrive. It waits for its first member as long as it has no attempts and no holder.
    redrive_id uuid,
    -- Its group keeps the order of its key: what stands behind it of the key waits for it. Not what was redriven.
    key_ordered boolean not null default false,
    -- It waits for an earlier one of its key: nobody may take it.
    parked boolean not null default false,
    appended_at timestamptz not null,
    publisher text,
    id text,
    type text,
    key text,
    event_time bigint,
    content_type text,
    headers text,
    payload bytea not null,
    -- It goes with the event: a redriven one that dies again still knows its original.
    edit dead_letter_edit,
    primary key (group_id, partition_id, event_offset)
) with (fillfactor = 70);
create index retry_due on retry (group_id, due_at) where holder is null and not in_place and not parked;
create index retry_key on retry (group_id, partition_id, key, event_offset) where key_ordered;
create index retry_broker on retry (broker_id) where broker_id is not null;
create index retry_redrive on retry (redrive_id) where redrive_id is not null;

-- Events that a group gave up on. One of each at a time: a replay that fails again replaces what it failed with before.
create table dead_letter_event (
    dead_letter_id uuid primary key default gen_random_uuid(),
    organization_id bigint not null,
    group_id bigint not null,
    partition_id bigint not null,
    event_offset bigint not null,
    attempts integer not null,
    reason text not null,
    error_class text not null,
    history jsonb not null,
    dead_at timestamptz not null default clock_timestamp(),
    appended_at timestamptz not null,
    publisher text,
    id text,
    type text,
    key text,
    event_time bigint,
    content_type text,
    headers text,
    payload bytea not null,
    edit dead_letter_edit,
    -- The redrive with which it died again.
    redrive_id uuid,
    constraint dead_letter_event_once unique (group_id, partition_id, event_offset)
);
create index dead_letter_event_newest on dead_letter_event (group_id, dead_at);
create index dead_letter_event_redrive on dead_letter_event (redrive_id) where redrive_id is not null;

-- A failed attempt. `from_offset` names the claim that the event was dealt from; null: it was a retry. Without a delay it is the
-- last one.
create type failure_input_v1 as (
    partition_id bigint,
    event_offset bigint,
    from_offset bigint,
    lease_epoch bigint,
    delay_ms bigint,
    lost_only boolean,
    alone boolean,
    reason text,
    error_class text,
    member_name text,
    duration_ms bigint,
    -- Empty: not said.
    trace_id text
);

-- What is done of a claim, failed events among it, as the text of an int8multirange.
create type done_input_v1 as (partition_id bigint, from_offset bigint, lease_epoch bigint, done text);

create type retry_key_v1 as (partition_id bigint, event_offset bigint, lease_epoch bigint);

-- Copies of events, from the rows that hold them; each row is taken apart once. What retention took is left out.
create function event_copy(p_partition bigint, p_offsets bigint[])
returns table (
    event_offset bigint, appended_at timestamptz, publisher text, id text, type text, key text, event_time bigint,
    content_type text, headers text, payload bytea
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select b.base_offset + e.ordinal - 1, b.appended_at, publisher_at(b.publishers, b.publisher_counts, e.ordinal), e.id,
           e.type, e.key, e.time, e.content_type, e.headers, e.payload
    from event_batch b
    cross join lateral unnest(b.ids, b.types, b.keys, b.times, b.content_types, b.headers, b.payloads) with ordinality
        as e(id, type, key, time, content_type, headers, payload, ordinal)
    where b.partition_id = p_partition
      -- From the row that holds the first to the one that holds the last.
      and b.base_offset >= coalesce((
          select max(x.base_offset) from event_batch x
          where x.partition_id = p_partition and x.base_offset <= (select min(o) from unnest(p_offsets) o)), 0)
      and b.base_offset <= (select max(o) from unnest(p_offsets) o)
      and exists (
          select 1 from unnest(p_offsets) o where o >= b.base_offset and o < b.base_offset + b.event_count)
      and b.base_offset + e.ordinal - 1 = any (p_offsets)
$$;

create function failed_attempt(p_attempt integer, p_failure failure_input_v1) returns jsonb
language sql volatile
as $$
    select jsonb_build_array(jsonb_build_object(
        'attempt', p_attempt, 'at_us', (extract(epoch from clock_timestamp()) * 1000000)::bigint, 'member', p_failure.member_name, 'reason', p_failure.reason,
        'error_class', p_failure.error_class, 'duration_ms', p_failure.duration_ms, 'trace_id', p_failure.trace_id))
$$;

-- The newest so many attempts.
create function newest_attempts(p_history jsonb, p_more jsonb) returns jsonb
language sql immutable
as $$
    select case when jsonb_array_length(p_history) < 20 then p_history || p_more else (p_history - 0) || p_more end
$$;

-- Makes dead letters of retries, in the transaction of their last failure. The caller has locked them. A letter that is there
-- already (a seek replayed its event) keeps its own edit: the retry can have none, since a redrive takes the letter away.
create function bury(p_group bigint, p_partition bigint, p_offsets bigint[]) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    with gone as (
        delete from retry where group_id = p_group and partition_id = p_partition and event_offset = any (p_offsets) returning *
    )
    insert into dead_letter_event as d (
        organization_id, group_id, partition_id, event_offset, attempts, reason, error_class, history, appended_at, publisher,
        id, type, key, event_time, content_type, headers, payload, edit, redrive_id)
    select organization_id, group_id, partition_id, event_offset, attempts, reason, error_class, history, appended_at, publisher,
           id, type, key, event_time, content_type, headers, payload, edit, redrive_id
    from gone
    on conflict on constraint dead_letter_event_once do update
    set attempts = excluded.attempts, reason = excluded.reason, error_class = excluded.error_class, history = excluded.history,
        dead_at = clock_timestamp(), redrive_id = excluded.redrive_id
$$;

-- Shared groups -----------------------------------------------------------------------------------------------------------

-- The next events at or behind an offset that exist without a hole between them: their bounds, at most `p_events`. None: no row.
create function next_events(p_partition bigint, p_from bigint, p_events bigint) returns table (from_offset bigint, to_offset bigint)
language plpgsql stable security definer set search_path = eventflow, pg_temp
as $$
declare
    v_from bigint;
    v_end bigint;
begin
    -- In the last row that begins there or before; else at the first one behind it.
    select b.base_offset + b.event_count into v_end from event_batch b
    where b.partition_id = p_partition and b.base_offset <= p_from order by b.base_offset desc limit 1;
    v_from := p_from;
    if not found or v_end <= p_from then
        select b.base_offset into v_from from event_batch b
        where b.partition_id = p_partition and b.base_offset > p_from order by b.base_offset limit 1;
        if not found then
            return;
        end if;
    end if;
    -- Where its log epoch ends.
    select b.base_offset + b.event_count into v_end from event_batch b
    where b.partition_id = p_partition and b.base_offset < ((v_from >> 40) + 1) << 40 order by b.base_offset desc limit 1;
    return query select v_from, least(v_from + p_events, v_end);
end
$$;

-- Claims what is free or new in some partitions, a claim of each at most. No row: nothing there, or the broker's lease ran out.
create function claim_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_broker uuid, p_partitions bigint[], p_events bigint
) returns table (partition_id bigint, from_offset bigint, to_offset bigint, lease_epoch bigint, log_epoch bigint, done text)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_offset consumer_offset;
    v_claim group_claim;
    v_floor bigint;
    v_new record;
    v_log_epoch bigint;
    v_key_order boolean;
begin
    -- Held against the sweep, and not against its renewal.
    perform 1 from broker b where b.broker_id = p_broker and b.expires_at > clock_timestamp() for key share;
    if not found then
        return;
    end if;
    select s.log_epoch into strict v_log_epoch from log_state s;
    select g.key_order into v_key_order from consumer_group g where g.group_id = p_group;
    for v_offset in
        select * from consumer_offset o
        where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = any (p_partitions)
          -- Where keys are in order, all claims of a partition are in one hand.
          and (not v_key_order or o.dispatcher = p_holder)
        order by o.partition_id for update
    loop
        update group_claim c set holder = p_holder, broker_id = p_broker, lease_epoch = v_offset.lease_epoch + 1
        where c.group_id = p_group and c.partition_id = v_offset.partition_id and c.from_offset = (
            select x.from_offset from group_claim x
            where x.group_id = p_group and x.partition_id = v_offset.partition_id and x.holder is null
              -- No claim is longer, and what lies below is done: those that are gone are not stepped over again and again, which
              -- matters while an old transaction keeps them from being pruned.
              and x.from_offset >= v_offset.next_offset - 100000
            order by x.from_offset limit 1 for update skip locked)
        returning * into v_claim;
        if not found then
            select h.floor_offset into v_floor from partition_head h
            where h.partition_id = v_offset.partition_id and h.organization_id = p_organization and not h.deleted;
            continue when not found;
            v_floor := greatest(coalesce(v_offset.claim_offset, v_offset.next_offset), v_floor);
            select * into v_new from next_events(v_offset.partition_id, v_floor, least(p_events, 100000));
            continue when not found;
            insert into group_claim (
                group_id, partition_id, from_offset, to_offset, organization_id, lease_epoch, holder, broker_id)
            values (p_group, v_offset.partition_id, v_new.from_offset, v_new.to_offset, p_organization,
                    v_offset.lease_epoch + 1, p_holder, p_broker)
            returning * into v_claim;
            update consumer_offset o
            set claim_offset = v_new.to_offset, lease_epoch = o.lease_epoch + 1,
                -- Removed before anybody had claimed them.
                truncated_events = o.truncated_events + greatest(0,
                    (select b.events from partition_before(o.partition_id, v_new.from_offset) b)
                    - (select b.events from partition_before(o.partition_id, coalesce(o.claim_offset, o.next_offset)) b))
            where o.group_id = p_group and o.partition_id = v_offset.partition_id;
        else
            update consumer_offset o set lease_epoch = o.lease_epoch + 1
            where o.group_id = p_group and o.partition_id = v_offset.partition_id;
        end if;
        return query select v_claim.partition_id, v_claim.from_offset, v_claim.to_offset, v_claim.lease_epoch, v_log_epoch,
                            v_claim.done::text;
    end loop;
end
$$;

-- Moves the floor of a partition to its lowest unfinished claim. The caller has locked the partition.
create function raise_progress(p_group bigint, p_partition bigint) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_offset consumer_offset;
    v_floor bigint;
begin
    select * into v_offset from consumer_offset o where o.group_id = p_group and o.partition_id = p_partition;
    -- As in claim_v1.
    select lower(int8multirange(int8range(c.from_offset, c.to_offset)) - c.done) into v_floor from group_claim c
    where c.group_id = p_group and c.partition_id = p_partition and c.from_offset >= v_offset.next_offset - 100000
    order by c.from_offset limit 1;
    update consumer_offset o set next_offset = coalesce(v_floor, v_offset.claim_offset)
    where o.group_id = p_group and o.partition_id = p_partition and o.next_offset < coalesce(v_floor, v_offset.claim_offset);
end
$$;

-- Writes what became of events: what is done of claims, failed attempts, retries that were acknowledged. What is not held any
-- more, under the epoch that it was dealt under, changes nothing: the answer names it by its place. The same call again changes
-- nothing, and finds finished claims gone.
create function settle_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_done done_input_v1[], p_failures failure_input_v1[],
    p_acked retry_key_v1[]
) returns table (lost_claims integer[], lost_failures integer[], lost_acks integer[])
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_lost_claims integer[];
    v_lost_failures integer[];
    v_lost_acks integer[];
    v_partition bigint;
    v_dead record;
    v_key_order boolean;
begin
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    perform 1 from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id in (
        select d.partition_id from unnest(p_done) d union select f.partition_id from unnest(p_failures) f
        union select a.partition_id from unnest(p_acked) a)
    order by o.partition_id for update;
    perform 1 from group_claim c
    where c.group_id = p_group and (c.partition_id, c.from_offset) in (
        select d.partition_id, d.from_offset from unnest(p_done) d)
    order by c.partition_id, c.from_offset for update;

    select coalesce(array_agg(d.place::integer), '{}') into v_lost_claims
    from unnest(p_done) with ordinality as d(partition_id, from_offset, lease_epoch, done, place)
    where not exists (
        select 1 from group_claim c
        where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = d.partition_id
          and c.from_offset = d.from_offset and c.lease_epoch = d.lease_epoch and c.holder = p_holder);
    select coalesce(array_agg(f.place::integer), '{}') into v_lost_failures
    from unnest(p_failures) with ordinality as f(partition_id, event_offset, from_offset, lease_epoch, delay_ms, lost_only, alone,
                                                  reason, error_class, member_name, duration_ms, trace_id, place)
    where f.from_offset is null and not exists (
        select 1 from retry r
        where r.group_id = p_group and r.organization_id = p_organization and r.partition_id = f.partition_id
          and r.event_offset = f.event_offset and r.lease_epoch = f.lease_epoch and r.holder = p_holder);
    select coalesce(array_agg(a.place::integer), '{}') into v_lost_acks
    from unnest(p_acked) with ordinality as a(partition_id, event_offset, lease_epoch, place)
    where not exists (
        select 1 from retry r
        where r.group_id = p_group and r.organization_id = p_organization and r.partition_id = a.partition_id
          and r.event_offset = a.event_offset and r.lease_epoch = a.lease_epoch and r.holder = p_holder);

    select g.key_order into v_key_order from consumer_group g where g.group_id = p_group;
    -- Failed retries go back, to be due again.
    update retry r
    set attempts = r.attempts + 1, due_at = clock_timestamp() + coalesce(f.delay_ms, 0) * interval '1 millisecond',
        lost_only = f.lost_only, alone = f.alone, holder = null, broker_id = null, reason = f.reason,
        error_class = f.error_class, history = newest_attempts(r.history, failed_attempt(r.attempts + 1, f))
    from unnest(p_failures) f
    where r.group_id = p_group and r.organization_id = p_organization and r.partition_id = f.partition_id
      and r.event_offset = f.event_offset and f.from_offset is null and r.lease_epoch = f.lease_epoch and r.holder = p_holder;
    -- First failures, of claims that are held, and not counted before: a copy each. Copied once a partition, and then joined: in one
    -- join, copying all may be done again for each of them.
    with first as materialized (
        select x.partition_id, array_agg(x.event_offset) as offsets
        from unnest(p_failures) x
        join group_claim c on c.group_id = p_group and c.organization_id = p_organization and c.partition_id = x.partition_id
            and c.from_offset = x.from_offset and c.lease_epoch = x.lease_epoch and c.holder = p_holder
        where not c.done @> x.event_offset
        group by x.partition_id
    ), copied as materialized (
        select g.partition_id, e.* from first g cross join lateral event_copy(g.partition_id, g.offsets) e
    )
    insert into retry (
        group_id, partition_id, event_offset, organization_id, attempts, due_at, lost_only, alone, reason, error_class, history,
        key_ordered, appended_at, publisher, id, type, key, event_time, content_type, headers, payload)
    select p_group, e.partition_id, e.event_offset, p_organization, 1,
           clock_timestamp() + coalesce(f.delay_ms, 0) * interval '1 millisecond', f.lost_only, f.alone, f.reason, f.error_class,
           failed_attempt(1, f), v_key_order and e.key is not null, e.appended_at, e.publisher, e.id, e.type, e.key, e.event_time,
           e.content_type, e.headers, e.payload
    from copied e
    join unnest(p_failures) f
        on f.partition_id = e.partition_id and f.event_offset = e.event_offset and f.from_offset is not null
    on conflict do nothing;
    for v_dead in
        select f.partition_id, array_agg(f.event_offset) as offsets
        from unnest(p_failures) with ordinality as f(partition_id, event_offset, from_offset, lease_epoch, delay_ms, lost_only,
                                                     alone, reason, error_class, member_name, duration_ms, trace_id, place)
        join retry r on r.group_id = p_group and r.organization_id = p_organization and r.partition_id = f.partition_id
            -- Freed just now, or just made: nobody else has it.
            and r.event_offset = f.event_offset and r.holder is null
        left join group_claim c on c.group_id = p_group and c.partition_id = f.partition_id and c.from_offset = f.from_offset
            and c.lease_epoch = f.lease_epoch and c.holder = p_holder and not c.done @> f.event_offset
        where f.delay_ms is null
          -- What is fenced buries nothing.
          and case when f.from_offset is null then f.place <> all (v_lost_failures) else c.group_id is not null end
        group by f.partition_id order by f.partition_id
    loop
        perform bury(p_group, v_dead.partition_id, v_dead.offsets);
    end loop;

    delete from retry r using unnest(p_acked) a
    where r.group_id = p_group and r.organization_id = p_organization and r.partition_id = a.partition_id
      and r.event_offset = a.event_offset and r.lease_epoch = a.lease_epoch and r.holder = p_holder;
    update group_claim c set done = c.done + d.done::int8multirange
    from unnest(p_done) d
    where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = d.partition_id
      and c.from_offset = d.from_offset and c.lease_epoch = d.lease_epoch and c.holder = p_holder;
    for v_partition in
        with finished as (
            delete from group_claim c
            where c.group_id = p_group and c.holder = p_holder and c.done @> int8range(c.from_offset, c.to_offset)
              and (c.partition_id, c.from_offset) in (select d.partition_id, d.from_offset from unnest(p_done) d)
            returning c.partition_id
        )
        select distinct f.partition_id from finished f order by 1
    loop
        perform raise_progress(p_group, v_partition);
    end loop;
    return query select v_lost_claims, v_lost_failures, v_lost_acks;
end
$$;

-- Gives claims and retries back, for others to take; nothing is counted.
create function give_back_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_claims retry_key_v1[], p_retries retry_key_v1[]
) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update group_claim c set holder = null, broker_id = null
    from unnest(p_claims) k
    where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = k.partition_id
      and c.from_offset = k.event_offset and c.lease_epoch = k.lease_epoch and c.holder = p_holder;
    update retry r set holder = null, broker_id = null, due_at = clock_timestamp()
    from unnest(p_retries) k
    where r.group_id = p_group and r.organization_id = p_organization and r.partition_id = k.partition_id
      and r.event_offset = k.event_offset and r.lease_epoch = k.lease_epoch and r.holder = p_holder
$$;

-- Gives back what was not dealt of a claim that stays: free claims of their own, for others to take.
create function split_claim_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_partition bigint, p_from bigint, p_lease_epoch bigint, p_undealt text
) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    perform 1 from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = p_partition for update;
    perform 1 from group_claim c
    where c.group_id = p_group and c.organization_id = p_organization and c.partition_id = p_partition
      and c.from_offset = p_from and c.lease_epoch = p_lease_epoch and c.holder = p_holder for update;
    if not found then
        return;
    end if;
    -- A range that begins where the claim does stays with it: it has the name already.
    insert into group_claim (group_id, partition_id, from_offset, to_offset, organization_id, lease_epoch)
    select p_group, p_partition, lower(u.r), upper(u.r), p_organization, p_lease_epoch
    from unnest(p_undealt::int8multirange) u(r) where lower(u.r) <> p_from
    on conflict do nothing;
    update group_claim c
    set done = c.done + (select coalesce(range_agg(u.r), '{}') from unnest(p_undealt::int8multirange) u(r) where lower(u.r) <> p_from)
    where c.group_id = p_group and c.partition_id = p_partition and c.from_offset = p_from;
    -- What its members had may have been settled by now: then nobody else would end it.
    delete from group_claim c
    where c.group_id = p_group and c.partition_id = p_partition and c.from_offset = p_from
      and c.done @> int8range(c.from_offset, c.to_offset);
    if found then
        perform raise_progress(p_group, p_partition);
    end if;
end
$$;
