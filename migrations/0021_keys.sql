-- Idempotency keys of events, and conditional appends. Calls without either never enter: they go to append_v1 as before.

alter table stream
    -- 0: for ever.
    add column key_retention_us bigint not null default 86400000000
        constraint stream_key_retention_range check (key_retention_us between 0 and 3153600000000000),
    -- Whether the last offset of each key is kept. Chosen when the stream is made.
    add column track_keys boolean not null default false;

-- As of its stream. It stands in the row that an append locks and reads anyway, so others pay nothing for it, and whoever
-- appends, also a broker that does not know it, keeps it up.
alter table partition_head add column track_keys boolean not null default false;

-- The first position of each key, for as long as the stream keeps keys. Insert-only but for the pruning job.
create table event_key (
    partition_id bigint not null,
    key text collate "C" not null,
    -- Of what the event says: type, key, payload, content type and headers.
    fingerprint bytea not null constraint event_key_fingerprint_size check (octet_length(fingerprint) = 16),
    event_offset bigint not null,
    appended_at timestamptz not null,
    primary key (partition_id, key)
);
create index event_key_time on event_key (partition_id, appended_at);

-- The last offset of each key, where partitions track them; it stays when retention has taken the event. One row a key, and in
-- no transaction's eyes more: an append removes the row that it replaces. The offset is in the primary key so that the newest row is
-- found first: one key that is appended to again and again leaves dead rows behind, which cannot be pruned while any old
-- transaction is open, and would have to be stepped over.
create table key_position (
    partition_id bigint not null,
    key text collate "C" not null,
    last_offset bigint not null,
    primary key (partition_id, key, last_offset)
);
alter table key_position set (autovacuum_vacuum_cost_delay = 0);

-- Keeps the last offsets of the keys of a row that was just appended from p_base on, under the partition's lock. A look-up by index
-- and a removal by place for each key, whatever the statistics say: of a table that has just begun to grow they say that it is empty.
create function track_keys_v1(p_partition bigint, p_base bigint, p_keys text[]) returns void
language plpgsql volatile set search_path = eventflow, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
begin
    with last as materialized (
        select u.key, p_base + max(u.place) - 1 as last_offset
        from unnest(p_keys) with ordinality as u(key, place)
        where u.key is not null group by u.key
    ), before as materialized (
        select k.place
        from last l
        cross join lateral (
            select o.ctid as place from key_position o
            where o.partition_id = p_partition and o.key = l.key order by o.last_offset desc limit 1
        ) k
    ), replaced as (
        delete from key_position k where k.ctid = any(array(select b.place from before b))
    )
    insert into key_position (partition_id, key, last_offset) select p_partition, l.key, l.last_offset from last l;
end
$$;

-- The offset of a key's last event; null when it has none.
create function last_of_key(p_partition bigint, p_key text) returns bigint
language sql stable set search_path = eventflow, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
    select k.last_offset from key_position k
    where k.partition_id = p_partition and k.key = p_key order by k.last_offset desc limit 1
$$;

-- What a run expects of a key: the offset of its last event, null when it has none.
create type append_last_v1 as (
    run integer,
    key text,
    last_offset bigint
);

-- A key of an event. `run` is its run in the call, from 1; `place` its event in the run, from 0. `known` is the offset that the
-- caller believes the key to have, null when it believes it to be new, and -1 - p when it is the key of the event at place p.
create type append_key_v1 as (
    run integer,
    place integer,
    key text,
    fingerprint bytea,
    known bigint
);

-- Keeps the keys of a run that was just appended from p_base on. When events of it had been appended before, keeps where each of
-- its pieces stands, too.
create function record_keys_v1(
    p_run append_run_v1, p_base bigint, p_appended_at timestamptz, p_keys append_key_v1[]
) returns void
language plpgsql volatile set search_path = eventflow, pg_temp
as $$
begin
    if cardinality(p_keys) = 0 then
        return;
    end if;
    insert into event_key (partition_id, key, fingerprint, event_offset, appended_at)
    select p_run.partition_id, c.key, c.fingerprint,
           -- Events that are known take no room before it.
           p_base + c.place - (select count(*) from unnest(p_keys) k where k.known is not null and k.place < c.place),
           p_appended_at
    from unnest(p_keys) c where c.known is null;
    if not exists (select from unnest(p_keys) c where c.known is not null) then
        return;
    end if;
    update producer_run r
    set event_count = p_run.event_count, base_offset = found.bases[1], piece_bases = found.bases, piece_counts = found.counts
    from (
        with event as (
            select e.place, c.known,
                   p_base + e.place - count(c.known) over (order by e.place) as new_offset
            from generate_series(0, p_run.event_count - 1) as e(place)
            left join unnest(p_keys) c on c.place = e.place
        ), stands as (
            select e.place,
                   case when e.known is null then e.new_offset when e.known >= 0 then e.known else o.new_offset end as at
            from event e left join event o on e.known < 0 and o.place = -1 - e.known
        ), island as (
            select s.place, s.at, s.at - s.place is distinct from lag(s.at - s.place) over (order by s.place) as begins
            from stands s
        ), piece as (
            select min(i.at) as base, count(*)::integer as count, i.number
            from (select *, count(*) filter (where begins) over (order by place) as number from island) i
            group by i.number
        )
        select array_agg(p.base order by p.number) as bases, array_agg(p.count order by p.number) as counts from piece p
    ) found
    where r.partition_id = p_run.partition_id and r.producer_id = p_run.producer_id and r.epoch = p_run.epoch
      and r.first_sequence = p_run.first_sequence;
end
$$;

-- Appends like append_v1, whose signature it extends, and whose verdicts it gives. Three more: 'keys' for a run with a key that is
-- not what the caller believes (per key of the run, in their order: `bases` has the offset that it has, null when it is new, and
-- `counts` 1 when that event says the same, 0 when it says something else), 'expectation' for a run whose partition ends
-- elsewhere than at p_expected (`expected` is where), and, beside that of the run, 'last' for each run with expectations on keys
-- when one in its partition does not hold (per expectation of the run, in their order: `bases` has the offset of the key's last
-- event, null when it has none). Nothing is inserted for a partition with a run that is not new, or that expects something else.
--
-- `event_count` of a run counts all its events, those that are known too; the rows hold the others only.
create function append_keyed_v1(
    p_log_epoch bigint,
    p_wait boolean,
    p_runs append_run_v1[],
    p_rows append_row_v1[],
    p_keys append_key_v1[],
    -- One a run: where the partition must end. Null: anywhere. Such a run is the only one of its partition in the call.
    p_expected bigint[],
    -- What runs expect of keys, in the order of the runs. No other run of the call has an event of such a key, and of its own run
    -- only the submission that expects it and what comes behind.
    p_last append_last_v1[] default '{}'
) returns setof append_verdict_v1
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_state record;
    v_head partition_head;
    v_run append_run_v1;
    v_partition bigint := null;
    v_first integer := 1;
    v_last integer;
    v_place integer := 1;
    v_rows integer;
    v_end bigint;
    v_all_new boolean;
    v_amiss boolean;
    v_last_amiss boolean;
    v_untracked boolean;
    v_runs append_run_v1[];
    v_appended append_verdict_v1;
    v_base bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'append_keyed_v1 needs read committed isolation';
    end if;
    if cardinality(p_expected) <> cardinality(p_runs) then
        raise exception 'there must be an expectation a run, if only null';
    end if;
    select log_epoch, timeline into strict v_state from log_state;
    if v_state.log_epoch <> p_log_epoch or v_state.timeline <> current_timeline() then
        return next row(null, 0, 'log_epoch', null, null, v_state.log_epoch, null, null)::append_verdict_v1;
        return;
    end if;

    while v_first <= cardinality(p_runs) loop
        v_run := p_runs[v_first];
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
        v_rows := 0;
        while p_rows[v_place + v_rows].partition_id = v_partition loop
            v_rows := v_rows + 1;
        end loop;
        if v_last > v_first and array_remove(p_expected[v_first:v_last], null) <> '{}' then
            raise exception 'a run with an expectation must be the only one of its partition';
        end if;

        if p_wait then
            select * into v_head from partition_head h where h.partition_id = v_partition for update;
        else
            select * into v_head from partition_head h where h.partition_id = v_partition for update skip locked;
        end if;
        if not found then
            perform from partition_head h where h.partition_id = v_partition;
            return next row(v_partition, 0, case when found then 'busy' else 'not_found' end,
                            null, null, null, null, null)::append_verdict_v1;
        elsif v_head.deleted or v_head.organization_id <> v_run.organization_id then
            return next row(v_partition, 0, 'not_found', null, null, null, null, null)::append_verdict_v1;
        else
            -- Under the lock, each statement with a snapshot taken after it. Sequences first: a repeat gets its offsets whatever
            -- else the run asks for.
            select bool_and(r.routing_version in (0, v_head.routing_version) and case
                       when newest.epoch is null or r.epoch > newest.epoch then r.first_sequence = 0
                       else r.epoch = newest.epoch and r.first_sequence = newest.next_sequence
                   end)
            into v_all_new
            from unnest(p_runs[v_first:v_last]) r
            left join lateral (
                select p.epoch, p.first_sequence + p.event_count as next_sequence
                from producer_run p
                where p.partition_id = v_partition and p.producer_id = r.producer_id
                order by p.epoch desc, p.first_sequence desc limit 1
            ) newest on true;
            select e.next_offset into v_end from partition_end(v_partition) e;
            select coalesce(bool_or(k.event_offset is distinct from c.known or k.fingerprint <> c.fingerprint), false)
            into v_amiss
            from unnest(p_keys) c
            left join event_key k on k.partition_id = v_partition and k.key = c.key
            where c.run between v_first and v_last and (c.known is null or c.known >= 0);

            v_last_amiss := false;
            if cardinality(p_last) > 0 then
                select coalesce(bool_or(last_of_key(v_partition, x.key) is distinct from x.last_offset), false),
                       bool_or(not v_head.track_keys)
                into v_last_amiss, v_untracked
                from unnest(p_last) x where x.run between v_first and v_last;
                if v_untracked then
                    raise exception 'partition % does not track its keys', v_partition;
                end if;
            end if;

            if not v_all_new then
                return query select * from append_verdicts_v1(v_head, p_runs[v_first:v_last], v_first);
            elsif v_amiss or v_last_amiss or p_expected[v_first] <> v_end then
                -- Whatever is amiss with a run is said at once: its keys, and where the partition ends when that was expected
                -- elsewhere.
                return query
                    select v_partition, n.run,
                           case when c.amiss then 'keys'
                                when p_expected[n.run] <> v_end then 'expectation'
                                else 'new' end,
                           null::bigint, c.appended_at,
                           case when p_expected[n.run] <> v_end then v_end end,
                           c.bases, c.counts
                    from generate_series(v_first, v_last) as n(run)
                    left join lateral (
                        select bool_or(k.event_offset is distinct from c.known or k.fingerprint <> c.fingerprint) as amiss,
                               array_agg(k.event_offset order by c.place) as bases,
                               array_agg(coalesce(k.fingerprint = c.fingerprint, false)::integer order by c.place) as counts,
                               max(k.appended_at) as appended_at
                        from unnest(p_keys) c
                        left join event_key k on k.partition_id = v_partition and k.key = c.key
                        where c.run = n.run and (c.known is null or c.known >= 0)
                    ) c on true;
                if v_last_amiss then
                    return query
                        select v_partition, x.run, 'last', null::bigint, null::timestamptz, null::bigint,
                               array_agg(last_of_key(v_partition, x.key) order by x.place), null::integer[]
                        from unnest(p_last) with ordinality as x(run, key, last_offset, place)
                        where x.run between v_first and v_last
                        group by x.run;
                end if;
            else
                -- append_v1 gets the events that are new. The lock is held already, and what it checks was checked under it.
                select array_agg(row(r.organization_id, r.partition_id, r.producer_id, r.epoch, r.first_sequence,
                                     r.event_count - known.events, r.routing_version)::append_run_v1 order by r.run)
                into v_runs
                from unnest(p_runs[v_first:v_last]) with ordinality
                     as r(organization_id, partition_id, producer_id, epoch, first_sequence, event_count, routing_version, run)
                cross join lateral (
                    select count(*)::integer as events from unnest(p_keys) c
                    where c.run = r.run + v_first - 1 and c.known is not null
                ) known;
                select * into v_appended
                from append_v1(p_log_epoch, true, v_runs, p_rows[v_place:v_place + v_rows - 1]);
                if v_appended.verdict is distinct from 'appended' then
                    -- The epoch was raised in between: nothing of the call counts, and it is made again.
                    raise exception 'the append of partition % was not decided', v_partition using errcode = '40001';
                end if;
                return next v_appended;
                v_base := v_appended.base_offset;
                for v_number in v_first..v_last loop
                    perform record_keys_v1(p_runs[v_number], v_base, v_appended.appended_at,
                                           array(select c from unnest(p_keys) c where c.run = v_number));
                    v_base := v_base + v_runs[v_number - v_first + 1].event_count;
                end loop;
            end if;
        end if;
        v_place := v_place + v_rows;
        v_first := v_last + 1;
    end loop;
    if v_place <= cardinality(p_rows) then
        raise exception 'rows must stand in the order of the runs';
    end if;
end
$$;

-- Forgets keys that their stream no longer keeps, and those of partitions that are gone; at most 10,000 a partition.
create function prune_keys_v1() returns bigint
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    with recursive keyed as (
        -- The partitions that have keys, one index probe each.
        select min(partition_id) as partition_id from event_key
        union all
        select (select min(k.partition_id) from event_key k where k.partition_id > keyed.partition_id)
        from keyed where keyed.partition_id is not null
    ), old as (
        select e.partition_id, e.key
        from keyed
        left join partition_head h on h.partition_id = keyed.partition_id
        left join stream s on s.stream_id = h.stream_id
        cross join lateral (
            select k.partition_id, k.key from event_key k
            where k.partition_id = keyed.partition_id
              -- A stable time, so that the index is used.
              and k.appended_at < case
                  when h.deleted is distinct from false or s.stream_id is null then 'infinity'
                  when s.key_retention_us = 0 then '-infinity'
                  else statement_timestamp() - s.key_retention_us * interval '1 microsecond'
              end
            order by k.appended_at limit 10000
        ) e
        where keyed.partition_id is not null
    ), removed as (
        delete from event_key k using old o where k.partition_id = o.partition_id and k.key = o.key returning 1
    )
    select count(*) from removed
$$;

alter table event_key enable row level security;
alter table key_position enable row level security;
revoke execute on function append_keyed_v1(bigint, boolean, append_run_v1[], append_row_v1[], append_key_v1[], bigint[],
                                           append_last_v1[]),
    record_keys_v1(append_run_v1, bigint, timestamptz, append_key_v1[]), track_keys_v1(bigint, bigint, text[]),
    last_of_key(bigint, text), prune_keys_v1() from public;
grant execute on function append_keyed_v1(bigint, boolean, append_run_v1[], append_row_v1[], append_key_v1[], bigint[],
                                          append_last_v1[]),
    prune_keys_v1() to eventflow_broker;
