-- What people do with dead letters: look, edit, redrive, cancel that, discard.

-- Which of a group's dead letters a filter lets through; null does not narrow.
create type dead_letter_filter_v1 as (
    ids uuid[],
    error_class text,
    reason_contains text,
    from_time timestamptz,
    to_time timestamptz
);

create function lets_through(p_filter dead_letter_filter_v1, p_letter dead_letter_event) returns boolean
language sql immutable
as $$
    select (p_filter.ids is null or p_letter.dead_letter_id = any (p_filter.ids))
       and (p_filter.error_class is null or p_letter.error_class = p_filter.error_class)
       -- As it is written: no pattern.
       and (p_filter.reason_contains is null or strpos(p_letter.reason, p_filter.reason_contains) > 0)
       and (p_filter.from_time is null or p_letter.dead_at >= p_filter.from_time)
       and (p_filter.to_time is null or p_letter.dead_at < p_filter.to_time)
$$;

-- The newest first, from behind a place (microseconds since 1970, and the id); null: from the start.
create function dead_letters_v1(
    p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_before timestamptz, p_before_id uuid, p_limit integer
) returns table (
    dead_letter_id uuid, partition_index integer, event_offset bigint, attempts integer, reason text, error_class text,
    history jsonb, dead_at timestamptz, appended_at timestamptz, publisher text, id text, type text, key text, event_time bigint,
    content_type text, headers text, payload bytea
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select d.dead_letter_id, o.partition_index, d.event_offset, d.attempts, d.reason, d.error_class, d.history, d.dead_at,
           d.appended_at, d.publisher, d.id, d.type, d.key, d.event_time, d.content_type, d.headers, d.payload
    from dead_letter_event d
    join consumer_offset o on o.group_id = d.group_id and o.partition_id = d.partition_id
    where d.group_id = p_group and d.organization_id = p_organization and lets_through(p_filter, d)
      and (p_before is null or (d.dead_at, d.dead_letter_id) < (p_before, p_before_id))
    order by d.dead_at desc, d.dead_letter_id desc limit p_limit
$$;

-- As dead_letters_v1, which brokers of before call, with the edit: who, when, what of the event differs from the original.
create function dead_letters_v2(
    p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_before timestamptz, p_before_id uuid, p_limit integer
) returns table (
    dead_letter_id uuid, partition_index integer, event_offset bigint, attempts integer, reason text, error_class text,
    history jsonb, dead_at timestamptz, appended_at timestamptz, publisher text, id text, type text, key text, event_time bigint,
    content_type text, headers text, payload bytea, editor text, edited_at timestamptz, changed text[], original_payload bytea,
    original_headers text, original_content_type text
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select d.dead_letter_id, o.partition_index, d.event_offset, d.attempts, d.reason, d.error_class, d.history, d.dead_at,
           d.appended_at, d.publisher, d.id, d.type, d.key, d.event_time, d.content_type, d.headers, d.payload,
           (d.edit).editor, (d.edit).edited_at,
           array_remove(array[
               case when (d.edit).payload is distinct from d.payload then 'payload' end,
               case when (d.edit).headers is distinct from d.headers then 'headers' end,
               case when (d.edit).content_type is distinct from d.content_type then 'content_type' end], null),
           (d.edit).payload, (d.edit).headers, (d.edit).content_type
    from dead_letter_event d
    join consumer_offset o on o.group_id = d.group_id and o.partition_id = d.partition_id
    where d.group_id = p_group and d.organization_id = p_organization and lets_through(p_filter, d)
      and (p_before is null or (d.dead_at, d.dead_letter_id) < (p_before, p_before_id))
    order by d.dead_at desc, d.dead_letter_id desc limit p_limit
$$;

-- What was given back at one time. What becomes of it is counted where it is: in `retry`, and as dead letters again in
-- `dead_letter_event`; here is what cannot be seen there any more. The newest 100 of a group are kept, and those that go on.
create table redrive (
    redrive_id uuid primary key default gen_random_uuid(),
    organization_id bigint not null,
    group_id bigint not null,
    actor text not null,
    started_at timestamptz not null default clock_timestamp(),
    events bigint not null,
    -- When the last of it is due.
    last_due_at timestamptz not null,
    -- Dead letters of it that went on with another redrive, or were discarded.
    died bigint not null default 0,
    -- Dead letters as before.
    cancelled bigint not null default 0,
    cancelled_at timestamptz
);
create index redrive_newest on redrive (group_id, started_at desc);

-- How far the redrives of a group have come, or one of them; the newest first.
create function redrives_v1(p_organization bigint, p_group bigint, p_redrive uuid)
returns table (
    redrive_id uuid, actor text, started_at timestamptz, events bigint, waiting bigint, retrying bigint, died bigint,
    cancelled bigint, cancelled_at timestamptz, last_due_at timestamptz
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select d.redrive_id, d.actor, d.started_at, d.events, r.waiting, r.retrying, d.died + x.died, d.cancelled, d.cancelled_at,
           d.last_due_at
    from redrive d
    cross join lateral (
        select count(*) filter (where t.attempts = 0 and t.holder is null) as waiting,
               count(*) filter (where t.attempts > 0 or t.holder is not null) as retrying
        from retry t where t.redrive_id = d.redrive_id
    ) r
    cross join lateral (select count(*) as died from dead_letter_event e where e.redrive_id = d.redrive_id) x
    where d.group_id = p_group and d.organization_id = p_organization and (p_redrive is null or d.redrive_id = p_redrive)
    order by d.started_at desc, d.redrive_id
$$;

-- Dead letters are gone that had died again: their redrives remember them. Locked in one order, and last of all.
create function remember_died(p_redrives uuid[]) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    perform 1 from redrive v where v.redrive_id = any (p_redrives) order by v.redrive_id for update;
    update redrive v set died = v.died + g.events
    from (select u.id, count(*) as events from unnest(p_redrives) u(id) group by u.id) g
    where v.redrive_id = g.id;
end
$$;

-- Gives dead letters back to their group, the oldest first, so many microseconds apart, behind what another redrive has spaced out:
-- rates do not add up. Each becomes a retry whose attempts start anew, with its history. One that is on its way again already is
-- only taken away; what it was edited to goes on with the retry. The redrive's id is null when there was nothing.
create function redrive_v1(
    p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_spacing_us bigint, p_limit integer, p_actor text
) returns table (redrive_id uuid, dead_letters bigint)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_redrive uuid := gen_random_uuid();
    v_start timestamptz := clock_timestamp();
    v_letters bigint;
    v_events bigint;
    v_last timestamptz;
    v_died uuid[];
begin
    if p_spacing_us > 0 then
        -- Two at a time would begin at the same place.
        perform 1 from consumer_group g where g.group_id = p_group for no key update;
        select greatest(v_start, max(v.last_due_at) + p_spacing_us * interval '1 microsecond') into v_start
        from redrive v where v.group_id = p_group and v.cancelled_at is null;
    end if;
    -- Retries that will be written to, before the letters: a burial takes the two in this order.
    perform 1
    from retry r
    join (
        select d.partition_id, d.event_offset, d.edit from dead_letter_event d
        where d.group_id = p_group and d.organization_id = p_organization and lets_through(p_filter, d)
        order by d.dead_at, d.dead_letter_id limit p_limit
    ) c on c.partition_id = r.partition_id and c.event_offset = r.event_offset
    where r.group_id = p_group and (c.edit).edited_at is not null
    order by r.partition_id, r.event_offset for update of r;
    with chosen as (
        select d.dead_letter_id from dead_letter_event d
        where d.group_id = p_group and d.organization_id = p_organization and lets_through(p_filter, d)
        order by d.dead_at, d.dead_letter_id limit p_limit for update
    ), gone as (
        delete from dead_letter_event d using chosen c where d.dead_letter_id = c.dead_letter_id returning d.*
    ), placed as (
        select g.*, row_number() over (order by g.dead_at, g.dead_letter_id) - 1 as place from gone g
    ), redriven as (
        insert into retry as r (
            group_id, partition_id, event_offset, organization_id, attempts, due_at, lost_only, alone, reason, error_class,
            history, redriven, redrive_id, appended_at, publisher, id, type, key, event_time, content_type, headers, payload, edit)
        select p.group_id, p.partition_id, p.event_offset, p.organization_id, 0,
               greatest(clock_timestamp(), v_start + p.place * p_spacing_us * interval '1 microsecond'), false, false, p.reason,
               p.error_class, p.history, true, v_redrive, p.appended_at, p.publisher, p.id, p.type, p.key, p.event_time,
               p.content_type, p.headers, p.payload, p.edit
        from placed p
        on conflict (group_id, partition_id, event_offset) do update
        set content_type = excluded.content_type, headers = excluded.headers, payload = excluded.payload, edit = excluded.edit
        where (excluded.edit).edited_at is not null
        returning r.redrive_id, r.due_at
    )
    select (select count(*) from gone), (select array_agg(g.redrive_id) filter (where g.redrive_id is not null) from gone g),
           (select count(*) from redriven n where n.redrive_id = v_redrive),
           (select max(n.due_at) from redriven n where n.redrive_id = v_redrive)
    into v_letters, v_died, v_events, v_last;
    if v_events = 0 then
        v_redrive := null;
    else
        insert into redrive (redrive_id, organization_id, group_id, actor, events, last_due_at)
        values (v_redrive, p_organization, p_group, p_actor, v_events, v_last);
        delete from redrive v
        where v.redrive_id in (
            select x.redrive_id from redrive x where x.group_id = p_group order by x.started_at desc, x.redrive_id offset 100)
          and not exists (select 1 from retry r where r.redrive_id = v.redrive_id);
    end if;
    perform remember_died(v_died);
    return query select v_redrive, v_letters;
end
$$;

-- Makes dead letters again of what no member has been given yet of a redrive; with their histories, and given up when they were. Null:
-- no such redrive.
create function cancel_redrive_v1(p_organization bigint, p_group bigint, p_redrive uuid) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_events bigint;
begin
    perform 1 from redrive v where v.redrive_id = p_redrive and v.group_id = p_group and v.organization_id = p_organization;
    if not found then
        return null;
    end if;
    with waiting as (
        -- What somebody is just taking is not waiting any more.
        select r.partition_id, r.event_offset from retry r
        where r.redrive_id = p_redrive and r.group_id = p_group and r.attempts = 0 and r.holder is null
        order by r.partition_id, r.event_offset for update skip locked
    ), gone as (
        delete from retry r using waiting w
        where r.group_id = p_group and r.partition_id = w.partition_id and r.event_offset = w.event_offset returning r.*
    ), letters as (
        insert into dead_letter_event (
            organization_id, group_id, partition_id, event_offset, attempts, reason, error_class, history, dead_at, appended_at,
            publisher, id, type, key, event_time, content_type, headers, payload, edit)
        select g.organization_id, g.group_id, g.partition_id, g.event_offset,
               coalesce((g.history -> -1 ->> 'attempt')::integer, 0), g.reason, g.error_class, g.history,
               coalesce(timestamptz 'epoch' + (g.history -> -1 ->> 'at_us')::bigint * interval '1 microsecond', clock_timestamp()),
               g.appended_at, g.publisher, g.id, g.type, g.key, g.event_time, g.content_type, g.headers, g.payload, g.edit
        from gone g
        on conflict on constraint dead_letter_event_once do nothing
    )
    select count(*) into v_events from gone;
    update redrive v set cancelled = v.cancelled + v_events, cancelled_at = coalesce(v.cancelled_at, clock_timestamp())
    where v.redrive_id = p_redrive;
    return v_events;
end
$$;

create function discard_v1(p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_limit integer) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_count bigint;
    v_died uuid[];
begin
    with gone as (
        delete from dead_letter_event d
        where d.dead_letter_id in (
            select x.dead_letter_id from dead_letter_event x
            where x.group_id = p_group and x.organization_id = p_organization and lets_through(p_filter, x)
            order by x.dead_at, x.dead_letter_id limit p_limit for update)
        returning d.redrive_id
    )
    select count(*), array_agg(g.redrive_id) filter (where g.redrive_id is not null) into v_count, v_died from gone g;
    perform remember_died(v_died);
    return v_count;
end
$$;

-- A dead letter's event, held until the transaction ends: nobody edits, redrives or discards it meanwhile.
create function hold_dead_letter_v1(p_organization bigint, p_group bigint, p_dead_letter uuid)
returns table (id text, type text, key text, event_time bigint, content_type text, headers text, payload bytea)
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    select d.id, d.type, d.key, d.event_time, d.content_type, d.headers, d.payload from dead_letter_event d
    where d.dead_letter_id = p_dead_letter and d.group_id = p_group and d.organization_id = p_organization
    for update
$$;

-- Writes what an event becomes. The first edit keeps what it was appended with; the ones behind it leave that alone.
create function edit_dead_letter_v1(
    p_organization bigint, p_group bigint, p_dead_letter uuid, p_editor text, p_payload bytea, p_headers text, p_content_type text
) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update dead_letter_event d
    set payload = p_payload, headers = p_headers, content_type = p_content_type,
        edit = case when (d.edit).edited_at is null
            then row(p_editor, clock_timestamp(), d.payload, d.headers, d.content_type)::dead_letter_edit
            else row(p_editor, clock_timestamp(), (d.edit).payload, (d.edit).headers, (d.edit).content_type)::dead_letter_edit
        end
    where d.dead_letter_id = p_dead_letter and d.group_id = p_group and d.organization_id = p_organization
$$;

-- How many a filter lets through, counted up to a limit.
create function count_dead_letters_v1(p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_limit integer)
returns bigint
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select count(*) from (
        select 1 from dead_letter_event d
        where d.group_id = p_group and d.organization_id = p_organization and lets_through(p_filter, d) limit p_limit
    ) x
$$;

revoke execute on all functions in schema eventflow from public;
grant execute on function dead_letters_v1(bigint, bigint, dead_letter_filter_v1, timestamptz, uuid, integer),
    dead_letters_v2(bigint, bigint, dead_letter_filter_v1, timestamptz, uuid, integer),
    hold_dead_letter_v1(bigint, bigint, uuid),
    edit_dead_letter_v1(bigint, bigint, uuid, text, bytea, text, text),
    redrive_v1(bigint, bigint, dead_letter_filter_v1, bigint, integer, text), redrives_v1(bigint, bigint, uuid),
    cancel_redrive_v1(bigint, bigint, uuid),
    discard_v1(bigint, bigint, dead_letter_filter_v1, integer),
    count_dead_letters_v1(bigint, bigint, dead_letter_filter_v1, integer) to eventflow_broker;
