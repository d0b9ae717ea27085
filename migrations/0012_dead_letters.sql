-- What people do with dead letters: look, edit, redrive, discard.

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

-- Gives dead letters back to their group, the oldest first, so many microseconds apart. Each becomes a retry whose attempts start
-- anew, with its history. One that is on its way again already is only taken away; what it was edited to goes on with the retry.
create function redrive_v1(
    p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_spacing_us bigint, p_limit integer
) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_count bigint;
begin
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
        insert into retry (
            group_id, partition_id, event_offset, organization_id, attempts, due_at, lost_only, alone, reason, error_class,
            history, redriven, appended_at, publisher, id, type, key, event_time, content_type, headers, payload, edit)
        select group_id, partition_id, event_offset, organization_id, 0,
               clock_timestamp() + place * p_spacing_us * interval '1 microsecond', false, false, reason, error_class, history,
               true, appended_at, publisher, id, type, key, event_time, content_type, headers, payload, edit
        from placed
        on conflict (group_id, partition_id, event_offset) do update
        set content_type = excluded.content_type, headers = excluded.headers, payload = excluded.payload, edit = excluded.edit
        where (excluded.edit).edited_at is not null
    )
    select count(*) into v_count from gone;
    return v_count;
end
$$;

create function discard_v1(p_organization bigint, p_group bigint, p_filter dead_letter_filter_v1, p_limit integer) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_count bigint;
begin
    delete from dead_letter_event d
    where d.dead_letter_id in (
        select x.dead_letter_id from dead_letter_event x
        where x.group_id = p_group and x.organization_id = p_organization and lets_through(p_filter, x)
        order by x.dead_at, x.dead_letter_id limit p_limit for update);
    get diagnostics v_count = row_count;
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
    redrive_v1(bigint, bigint, dead_letter_filter_v1, bigint, integer),
    discard_v1(bigint, bigint, dead_letter_filter_v1, integer),
    count_dead_letters_v1(bigint, bigint, dead_letter_filter_v1, integer) to eventflow_broker;
