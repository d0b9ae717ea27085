-- The append. One call per flush, in autocommit. See docs/append.md for the contract.

-- One row of the log. Rows of a partition stand together, in order.
create type append_row_v1 as (
    partition_id bigint,
    event_count integer,
    size_bytes integer,
    crc bigint,
    ids text[],
    types text[],
    keys text[],
    times bigint[],
    content_types text[],
    headers text[],
    payloads bytea[],
    run_producers uuid[],
    run_epochs integer[],
    run_first_sequences bigint[],
    run_counts integer[]
);

-- What one producer appends to one partition in this call. There is at most one run per producer and partition in a call; runs
-- of a partition are in the order of its events. `routing_version` 0 is not checked.
create type append_run_v1 as (
    organization_id bigint,
    partition_id bigint,
    producer_id uuid,
    epoch integer,
    first_sequence bigint,
    event_count integer,
    routing_version bigint
);

-- Verdicts: 'appended' (one row a partition, run 0), or nothing was inserted for the partition and there is one row a run:
-- 'new', 'duplicate', 'partial', 'out_of_sequence', 'producer_unknown', 'producer_fenced', 'sequence_too_old',
-- 'stale_routing'; or one row a partition, run 0: 'busy', 'not_found'; or one row for the call: 'log_epoch'.
create type append_verdict_v1 as (
    partition_id bigint,
    run integer,
    verdict text,
    base_offset bigint,
    appended_at timestamptz,
    -- What the producer should have sent; the current routing version; the current log epoch.
    expected bigint,
    -- For duplicates: where the events stand, in order.
    bases bigint[],
    counts integer[]
);

create function append_v1(
    p_log_epoch bigint,
    p_wait boolean,
    p_runs append_run_v1[],
    p_rows append_row_v1[]
) returns setof append_verdict_v1
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_state record;
    v_locked bigint[];
    v_refused bigint[];
    v_partition bigint := null;
    v_row append_row_v1;
    v_end record;
    v_next bigint;
    v_appended_at timestamptz;
    v_done bigint[] := '{}';
    v_bases bigint[] := '{}';
    v_times timestamptz[] := '{}';
begin
    -- Every statement below must see what was committed before it, not before the call: the head is read after the lock.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'append_v1 needs read committed isolation';
    end if;
    -- The acknowledgement says "flushed": a weaker setting of the server, database or role does not count here.
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;

    select log_epoch, timeline into strict v_state from log_state;
    if v_state.log_epoch <> p_log_epoch or v_state.timeline <> current_timeline() then
        return next row(null, 0, 'log_epoch', null, null, v_state.log_epoch, null, null)::append_verdict_v1;
        return;
    end if;

    -- Lock in ascending order. The rows are locked, never updated: dead versions of a hot row cannot be pruned while any old
    -- transaction is open.
    if p_wait then
        select coalesce(array_agg(partition_id), '{}') into v_locked from (
            select h.partition_id from partition_head h
            where h.partition_id in (select r.partition_id from unnest(p_runs) r)
            order by h.partition_id for update
        ) l;
    else
        select coalesce(array_agg(partition_id), '{}') into v_locked from (
            select h.partition_id from partition_head h
            where h.partition_id in (select r.partition_id from unnest(p_runs) r)
            order by h.partition_id for update skip locked
        ) l;
    end if;

    -- A partition that is foreign, deleted, unknown or busy; a foreign one says what an unknown one says.
    return query
        select r.partition_id, 0,
               case when h.partition_id is not null and not h.deleted and h.organization_id = r.organization_id
                    then 'busy' else 'not_found' end,
               null::bigint, null::timestamptz, null::bigint, null::bigint[], null::integer[]
        from (select distinct partition_id, organization_id from unnest(p_runs)) r
        left join partition_head h on h.partition_id = r.partition_id
        where not r.partition_id = any (v_locked) or h.deleted or h.organization_id <> r.organization_id;
    select array_remove(array_agg(distinct h.partition_id), null) into v_refused
    from unnest(p_runs) r join partition_head h on h.partition_id = r.partition_id
    where h.deleted or h.organization_id <> r.organization_id;
    v_refused := coalesce(v_refused, '{}');

    -- Classify every run first, under the lock and with a fresh snapshot.
    with classified as materialized (
        select r.partition_id, r.run::integer as run, r.producer_id, r.epoch, r.first_sequence, r.event_count,
               h.routing_version,
               newest.next_sequence,
               case
                   when newest.epoch is null and r.first_sequence > 0 then 'producer_unknown'
                   when r.epoch < newest.epoch then 'producer_fenced'
                   when r.epoch > newest.epoch and r.first_sequence > 0 then 'out_of_sequence'
                   when r.epoch = newest.epoch and r.first_sequence > newest.next_sequence then 'out_of_sequence'
                   when r.epoch = newest.epoch and r.first_sequence + r.event_count <= newest.next_sequence then 'duplicate'
                   when r.epoch = newest.epoch and r.first_sequence < newest.next_sequence then 'partial'
                   -- Only a new run can be refused for its routing.
                   when r.routing_version not in (0, h.routing_version) then 'stale_routing'
                   else 'new'
               end as verdict,
               case when r.epoch = newest.epoch then newest.next_sequence else 0 end as expected_sequence
        from unnest(p_runs) with ordinality
             as r(organization_id, partition_id, producer_id, epoch, first_sequence, event_count, routing_version, run)
        join partition_head h on h.partition_id = r.partition_id
        left join lateral (
            select p.epoch, p.first_sequence + p.event_count as next_sequence
            from producer_run p
            where p.partition_id = r.partition_id and p.producer_id = r.producer_id
            order by p.epoch desc, p.first_sequence desc limit 1
        ) newest on true
        where r.partition_id = any (v_locked) and not r.partition_id = any (v_refused)
    ), answered as (
        select c.partition_id, c.run,
               case when c.verdict = 'duplicate' and coalesce(d.covered, 0) < c.event_count then 'sequence_too_old'
                    else c.verdict end as verdict,
               d.first_base as base_offset, d.appended_at,
               case when c.verdict = 'stale_routing' then c.routing_version else c.expected_sequence end as expected,
               d.bases, d.counts
        from classified c
        left join lateral (
            -- The remembered runs that overlap this one, each cut to the overlap.
            select sum(o.overlap_count) as covered, min(o.overlap_base) as first_base, max(o.appended_at) as appended_at,
                   array_agg(o.overlap_base order by o.overlap_base) as bases,
                   array_agg(o.overlap_count order by o.overlap_base) as counts
            from (
                select p.base_offset + greatest(c.first_sequence - p.first_sequence, 0) as overlap_base,
                       (least(p.first_sequence + p.event_count, c.first_sequence + c.event_count)
                        - greatest(p.first_sequence, c.first_sequence))::integer as overlap_count,
                       p.appended_at
                from producer_run p
                where p.partition_id = c.partition_id and p.producer_id = c.producer_id and p.epoch = c.epoch
                  and p.first_sequence < c.first_sequence + c.event_count
                  and p.first_sequence + p.event_count > c.first_sequence
            ) o
        ) d on c.verdict = 'duplicate'
        -- All runs of a partition are new, or nothing of it is inserted and every run gets its verdict.
        where c.partition_id in (select x.partition_id from classified x where x.verdict <> 'new')
    )
    select coalesce(array_agg(row(a.partition_id, a.run, a.verdict, a.base_offset, a.appended_at, a.expected, a.bases,
                                  a.counts)::append_verdict_v1 order by a.run), '{}') as verdicts
    into v_end from answered a;
    if cardinality(v_end.verdicts) > 0 then
        return query select * from unnest(v_end.verdicts);
        select v_refused || array_agg(distinct v.partition_id) into v_refused from unnest(v_end.verdicts) v;
    end if;

    foreach v_row in array p_rows loop
        if v_row.partition_id is distinct from v_partition then
            v_partition := v_row.partition_id;
            select b.base_offset + b.event_count as next_offset, b.appended_at,
                   b.events_before + b.event_count as events, b.bytes_before + b.size_bytes as bytes
            into v_end
            from event_batch b where b.partition_id = v_partition order by b.base_offset desc limit 1;
            -- The newest rows may have been reclaimed: the head row remembers, and the greater counts.
            select greatest(v_end.next_offset, h.end_offset) as next_offset,
                   greatest(v_end.appended_at, h.end_appended_at) as appended_at,
                   greatest(v_end.events, h.end_events) as events, greatest(v_end.bytes, h.end_bytes) as bytes
            into v_end
            from partition_head h where h.partition_id = v_partition;
            v_next := greatest(v_end.next_offset, p_log_epoch << 40);
            v_appended_at := greatest(clock_timestamp(), v_end.appended_at);
            if v_partition = any (v_locked) and not v_partition = any (v_refused) then
                v_done := v_done || v_partition;
                v_bases := v_bases || v_next;
                v_times := v_times || v_appended_at;
                return next row(v_partition, 0, 'appended', v_next, v_appended_at, null, null, null)::append_verdict_v1;
            end if;
        end if;
        continue when not v_partition = any (v_locked) or v_partition = any (v_refused);

        insert into event_batch (
            partition_id, base_offset, event_count, size_bytes, events_before, bytes_before, organization_id, appended_at,
            crc, ids, types, keys, times, content_types, headers, payloads,
            run_producers, run_epochs, run_first_sequences, run_counts
        ) values (
            v_partition, v_next, v_row.event_count, v_row.size_bytes, v_end.events, v_end.bytes,
            (select h.organization_id from partition_head h where h.partition_id = v_partition), v_appended_at,
            v_row.crc, v_row.ids, v_row.types, v_row.keys, v_row.times, v_row.content_types, v_row.headers, v_row.payloads,
            v_row.run_producers, v_row.run_epochs, v_row.run_first_sequences, v_row.run_counts
        );
        v_next := v_next + v_row.event_count;
        v_end.events := v_end.events + v_row.event_count;
        v_end.bytes := v_end.bytes + v_row.size_bytes;
    end loop;

    insert into producer_run (partition_id, producer_id, epoch, first_sequence, event_count, base_offset, appended_at)
    select r.partition_id, r.producer_id, r.epoch, r.first_sequence, r.event_count,
           d.base + sum(r.event_count) over (partition by r.partition_id order by r.run) - r.event_count,
           d.appended_at
    from unnest(v_done, v_bases, v_times) as d(partition_id, base, appended_at)
    join unnest(p_runs) with ordinality
         as r(organization_id, partition_id, producer_id, epoch, first_sequence, event_count, routing_version, run)
      on r.partition_id = d.partition_id;
end
$$;
