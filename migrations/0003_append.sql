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
    publishers text[],
    publisher_counts integer[],
    run_producers uuid[],
    run_epochs integer[],
    run_first_sequences bigint[],
    run_counts integer[]
);

-- What one producer appends to one partition in this call. There is at most one run per producer and partition in a call; runs
-- are in ascending order of partitions, those of a partition in the order of its events. `routing_version` 0 is not checked.
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

-- The runs of one partition, when not all of them are new: what each of them is. Called under the partition's lock.
create function append_verdicts_v1(p_head partition_head, p_runs append_run_v1[], p_first integer)
returns setof append_verdict_v1
language sql volatile set search_path = eventflow, pg_temp
as $$
    with classified as materialized (
        select (r.run + p_first - 1)::integer as run, r.producer_id, r.epoch, r.first_sequence, r.event_count,
               case
                   when newest.epoch is null and r.first_sequence > 0 then 'producer_unknown'
                   when r.epoch < newest.epoch then 'producer_fenced'
                   when r.epoch > newest.epoch and r.first_sequence > 0 then 'out_of_sequence'
                   when r.epoch = newest.epoch and r.first_sequence > newest.next_sequence then 'out_of_sequence'
                   when r.epoch = newest.epoch and r.first_sequence + r.event_count <= newest.next_sequence then 'duplicate'
                   when r.epoch = newest.epoch and r.first_sequence < newest.next_sequence then 'partial'
                   -- Only a new run can be refused for its routing.
                   when r.routing_version not in (0, p_head.routing_version) then 'stale_routing'
                   else 'new'
               end as verdict,
               case when r.epoch = newest.epoch then newest.next_sequence else 0 end as expected_sequence
        from unnest(p_runs) with ordinality
             as r(organization_id, partition_id, producer_id, epoch, first_sequence, event_count, routing_version, run)
        left join lateral (
            select p.epoch, p.first_sequence + p.event_count as next_sequence
            from producer_run p
            where p.partition_id = p_head.partition_id and p.producer_id = r.producer_id
            order by p.epoch desc, p.first_sequence desc limit 1
        ) newest on true
    )
    select p_head.partition_id, c.run,
           case when c.verdict = 'duplicate' and coalesce(d.covered, 0) < c.event_count then 'sequence_too_old'
                else c.verdict end,
           d.first_base, d.appended_at,
           case when c.verdict = 'stale_routing' then p_head.routing_version else c.expected_sequence end,
           d.bases, d.counts
    from classified c
    left join lateral (
        -- The remembered runs that overlap this one, each cut to the overlap.
        select sum(o.overlap_count) as covered, min(o.overlap_base) as first_base, max(o.appended_at) as appended_at,
               array_agg(o.overlap_base order by o.first_sequence) as bases,
               array_agg(o.overlap_count order by o.first_sequence) as counts
        from (
            select piece.base + greatest(c.first_sequence - piece.first_sequence, 0) as overlap_base,
                   (least(piece.first_sequence + piece.count, c.first_sequence + c.event_count)
                    - greatest(piece.first_sequence, c.first_sequence))::integer as overlap_count,
                   piece.first_sequence, p.appended_at
            from producer_run p
            cross join lateral (
                select p.first_sequence, p.event_count as count, p.base_offset as base where p.piece_bases is null
                union all
                select p.first_sequence + sum(u.count) over (order by u.place) - u.count, u.count, u.base
                from unnest(p.piece_bases, p.piece_counts) with ordinality as u(base, count, place)
            ) piece
            where p.partition_id = p_head.partition_id and p.producer_id = c.producer_id and p.epoch = c.epoch
              and p.first_sequence < c.first_sequence + c.event_count
              and p.first_sequence + p.event_count > c.first_sequence
              and piece.first_sequence < c.first_sequence + c.event_count
              and piece.first_sequence + piece.count > c.first_sequence
        ) o
    ) d on c.verdict = 'duplicate'
    order by c.run
$$;

-- Partition by partition: a few short statements each, which cost less than a statement over all that joins. Their plans are
-- generic: planning them anew cost more than running them.
create function append_v1(
    p_log_epoch bigint,
    p_wait boolean,
    p_runs append_run_v1[],
    p_rows append_row_v1[]
) returns setof append_verdict_v1
language plpgsql volatile security definer
set search_path = eventflow, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    v_state record;
    v_run append_run_v1;
    v_partition bigint := null;
    v_first integer := 1;
    v_last integer;
    v_head partition_head;
    v_locked boolean;
    v_newest_epoch integer;
    v_newest_next bigint;
    v_all_new boolean;
    v_run_events bigint;
    v_row append_row_v1;
    v_place integer := 1;
    v_base bigint;
    v_next bigint;
    v_appended_at timestamptz;
    v_events bigint;
    v_bytes bigint;
begin
    -- Every statement below must see what was committed before it, not before the call: the head is read after the lock.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'append_v1 needs read committed isolation';
    end if;
    -- The acknowledgement says "flushed": a weaker setting of the server, database or role does not count here.
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;

    -- The timeline as `current_timeline()` gives it, without the cost of a call.
    select log_epoch, timeline, ring_segment into strict v_state from log_state;
    if v_state.log_epoch <> p_log_epoch
       or v_state.timeline <> substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) then
        return next row(null, 0, 'log_epoch', null, null, v_state.log_epoch, null, null)::append_verdict_v1;
        return;
    end if;

    while v_first <= cardinality(p_runs) loop
        v_run := p_runs[v_first];
        -- Locks are taken in ascending order, so that calls never wait for one another in a circle.
        if v_run.partition_id <= v_partition then
            raise exception 'runs must be in ascending order of partitions';
        end if;
        v_partition := v_run.partition_id;
        v_last := v_first;
        while p_runs[v_last + 1].partition_id = v_partition loop
            v_last := v_last + 1;
            if p_runs[v_last].organization_id <> v_run.organization_id then
                raise exception 'runs of a partition must be of one organization';
            end if;
        end loop;

        -- The head row is locked, never updated: dead versions of a hot row cannot be pruned while any old transaction is open.
        if p_wait then
            select * into v_head from partition_head h where h.partition_id = v_partition for update;
            v_locked := found;
        else
            select * into v_head from partition_head h where h.partition_id = v_partition for update skip locked;
            v_locked := found;
            if not found then
                select * into v_head from partition_head h where h.partition_id = v_partition;
            end if;
        end if;

        if v_head.partition_id is null or v_head.deleted or v_head.organization_id <> v_run.organization_id then
            -- A foreign partition says what an unknown one says.
            return next row(v_partition, 0, 'not_found', null, null, null, null, null)::append_verdict_v1;
            v_locked := false;
        elsif not v_locked then
            return next row(v_partition, 0, 'busy', null, null, null, null, null)::append_verdict_v1;
        else
            -- Under the lock, and with a snapshot taken after it. A run is new when it goes on where its producer's newest ends.
            -- The only run of a partition, that of a lone event among others, costs a third when it is not taken as a set.
            if v_first = v_last then
                select p.epoch, p.first_sequence + p.event_count into v_newest_epoch, v_newest_next
                from producer_run p
                where p.partition_id = v_partition and p.producer_id = v_run.producer_id
                order by p.epoch desc, p.first_sequence desc limit 1;
                v_run_events := v_run.event_count;
                v_all_new := v_run.routing_version in (0, v_head.routing_version) and case
                    when v_newest_epoch is null or v_run.epoch > v_newest_epoch then v_run.first_sequence = 0
                    else v_run.epoch = v_newest_epoch and v_run.first_sequence = v_newest_next
                end;
            else
                select sum(r.event_count),
                       bool_and(r.routing_version in (0, v_head.routing_version) and case
                           when newest.epoch is null or r.epoch > newest.epoch then r.first_sequence = 0
                           else r.epoch = newest.epoch and r.first_sequence = newest.next_sequence
                       end)
                into v_run_events, v_all_new
                from unnest(p_runs[v_first:v_last]) r
                left join lateral (
                    select p.epoch, p.first_sequence + p.event_count as next_sequence
                    from producer_run p
                    where p.partition_id = v_partition and p.producer_id = r.producer_id
                    order by p.epoch desc, p.first_sequence desc limit 1
                ) newest on true;
            end if;
            if not v_all_new then
                -- Nothing of the partition is inserted, and every run gets its verdict.
                return query select * from append_verdicts_v1(v_head, p_runs[v_first:v_last], v_first);
                v_locked := false;
            end if;
        end if;

        if v_locked then
            select b.base_offset + b.event_count, b.appended_at, b.events_before + b.event_count, b.bytes_before + b.size_bytes
            into v_next, v_appended_at, v_events, v_bytes
            from event_batch b where b.partition_id = v_partition order by b.base_offset desc limit 1;
            -- The newest rows may have been reclaimed: the head row remembers, and the greater counts.
            v_next := greatest(v_next, v_head.end_offset, p_log_epoch << 40);
            v_appended_at := greatest(clock_timestamp(), v_appended_at, v_head.end_appended_at);
            v_events := greatest(v_events, v_head.end_events);
            v_bytes := greatest(v_bytes, v_head.end_bytes);
            v_base := v_next;
            return next row(v_partition, 0, 'appended', v_base, v_appended_at, null, null, null)::append_verdict_v1;

            if v_first = v_last then
                insert into producer_run (partition_id, producer_id, epoch, first_sequence, event_count, base_offset, appended_at)
                values (v_partition, v_run.producer_id, v_run.epoch, v_run.first_sequence, v_run.event_count, v_base,
                        v_appended_at);
            else
                insert into producer_run (partition_id, producer_id, epoch, first_sequence, event_count, base_offset, appended_at)
                select v_partition, r.producer_id, r.epoch, r.first_sequence, r.event_count,
                       v_base + sum(r.event_count) over (order by r.run) - r.event_count, v_appended_at
                from unnest(p_runs[v_first:v_last]) with ordinality
                     as r(organization_id, partition_id, producer_id, epoch, first_sequence, event_count, routing_version, run);
            end if;
        end if;

        while p_rows[v_place].partition_id = v_partition loop
            if v_locked then
                v_row := p_rows[v_place];
                insert into event_batch (
                    segment_id, partition_id, base_offset, event_count, size_bytes, events_before, bytes_before, organization_id,
                    appended_at, crc, ids, types, keys, times, content_types, headers, payloads,
                    publishers, publisher_counts, run_producers, run_epochs, run_first_sequences, run_counts
                ) values (
                    case when v_head.short_lived then v_state.ring_segment else 0 end, v_partition, v_next, v_row.event_count, v_row.size_bytes, v_events, v_bytes, v_head.organization_id,
                    v_appended_at, v_row.crc, v_row.ids, v_row.types, v_row.keys, v_row.times, v_row.content_types,
                    v_row.headers, v_row.payloads, v_row.publishers, v_row.publisher_counts,
                    v_row.run_producers, v_row.run_epochs, v_row.run_first_sequences, v_row.run_counts
                );
                if v_head.track_keys and v_row.keys is not null then
                    perform track_keys_v1(v_partition, v_next, v_row.keys);
                end if;
                v_next := v_next + v_row.event_count;
                v_events := v_events + v_row.event_count;
                v_bytes := v_bytes + v_row.size_bytes;
            end if;
            v_place := v_place + 1;
        end loop;
        -- Offsets rest on it: what producers are told, and what stands in the log, must be the same events.
        if v_locked and v_next - v_base <> v_run_events then
            raise exception 'rows and runs of a partition must have the same events';
        end if;
        v_first := v_last + 1;
    end loop;
    if v_place <= cardinality(p_rows) then
        raise exception 'rows must stand in the order of the runs';
    end if;
end
$$;
