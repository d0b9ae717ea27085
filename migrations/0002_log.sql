-- The log: streams (cold), partitions, and one row per batch with one array column per event field.

create table stream (
    stream_id bigint generated always as identity primary key,
    organization_id bigint not null references organization,
    uid uuid not null default gen_random_uuid(),
    name text not null,
    description text not null default '',
    partition_count integer not null constraint stream_partition_count_range check (partition_count between 1 and 1024),
    -- 0: no limit by age. Bounded: now minus the age must be a time that Postgres knows.
    retention_max_age_us bigint not null
        constraint stream_retention_age_range check (retention_max_age_us between 0 and 3153600000000000),
    -- 0: no limit by size.
    retention_max_bytes bigint not null default 0 constraint stream_retention_bytes_range check (retention_max_bytes >= 0),
    max_event_bytes integer not null constraint stream_event_bytes_range check (max_event_bytes between 1 and 3145728),
    labels jsonb not null default '{}',
    routing_version bigint not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz
);
create unique index stream_name_key on stream (organization_id, name) where deleted_at is null;

create table stream_partition (
    stream_id bigint not null,
    partition_index integer not null,
    partition_id bigint not null constraint stream_partition_id_key unique,
    organization_id bigint not null,
    primary key (stream_id, partition_index)
);

create sequence partition_id_seq;

-- The head row is what an append locks; it is not updated by appends. The `end_*` columns hold the head of a partition whose
-- newest batches were reclaimed; the true head is the greater of them and of the newest batch.
create table partition_head (
    partition_id bigint primary key,
    organization_id bigint not null,
    stream_id bigint not null,
    routing_version bigint not null,
    floor_offset bigint not null,
    end_offset bigint not null,
    end_events bigint not null default 0,
    end_bytes bigint not null default 0,
    end_appended_at timestamptz,
    deleted boolean not null default false,
    -- Its events go into the ring of segments, see event_batch.
    short_lived boolean not null default false
) with (fillfactor = 70);

-- Insert-only for everybody but the functions that reclaim. Segment 0 keeps what stays for long; its rows are deleted one by one.
-- Segments 1 to 4 are a ring for what goes soon: one is written, and an old one is truncated as a whole when nothing in it can be
-- read any more, which costs the same whatever it held (docs/adr/0009-ring-of-segments.md). Where a row is says nothing else:
-- offsets are unique across segments because they are assigned under the lock of the head row.
create table event_batch (
    segment_id smallint not null default 0,
    partition_id bigint not null,
    base_offset bigint not null,
    event_count integer not null,
    -- Bytes of payloads, keys, headers and the other fields of this row's events.
    size_bytes integer not null,
    -- Events and bytes of the partition before this row, ever: lag and statistics are subtractions.
    events_before bigint not null,
    bytes_before bigint not null,
    organization_id bigint not null,
    -- Database time, never smaller than that of the row before.
    appended_at timestamptz not null,
    crc bigint not null,
    -- One array per field; a column whose values are all default is null.
    ids text[],
    types text[],
    keys text[],
    -- Microseconds since 1970; null is the append time.
    times bigint[],
    content_types text[],
    -- A JSON object, names in order; null is no headers.
    headers text[],
    payloads bytea[] not null,
    -- Who published the events: names of consecutive publishers, and how many events each; the counts are null when all events
    -- have one publisher.
    publishers text[],
    publisher_counts integer[],
    -- Runs of producers in this row, one after the other.
    run_producers uuid[] not null,
    run_epochs integer[] not null,
    run_first_sequences bigint[] not null,
    run_counts integer[] not null,
    primary key (partition_id, base_offset, segment_id)
) partition by list (segment_id);
create index event_batch_time on event_batch (partition_id, appended_at);

-- lz4 where the server has it: as small as pglz on JSON, and several times faster.
do $$
declare
    v_column text;
begin
    foreach v_column in array array['ids', 'types', 'keys', 'times', 'content_types', 'headers', 'payloads'] loop
        execute format('alter table event_batch alter column %I set compression lz4', v_column);
    end loop;
exception when feature_not_supported then
    null;
end
$$;

create table event_batch_0 partition of event_batch for values in (0);
create table event_batch_1 partition of event_batch for values in (1);
create table event_batch_2 partition of event_batch for values in (2);
create table event_batch_3 partition of event_batch for values in (3);
create table event_batch_4 partition of event_batch for values in (4);

-- What producers have appended, newest first by primary key; insert-only but for the pruning job.
create table producer_run (
    partition_id bigint not null,
    producer_id uuid not null,
    epoch integer not null,
    first_sequence bigint not null,
    event_count integer not null,
    base_offset bigint not null,
    appended_at timestamptz not null,
    -- Where the events of a run stand when they are not consecutive, because some of them had been appended before under their
    -- idempotency keys: pieces in the order of the run. Null for all others.
    piece_bases bigint[],
    piece_counts integer[],
    primary key (partition_id, producer_id, epoch, first_sequence)
);

-- Deleted rows give space back only when vacuum has passed, so vacuum of these tables does not pause for the server's cost limit.
-- The ring is only ever inserted into and truncated: there is nothing in it for vacuum.
alter table event_batch_0 set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table producer_run set (autovacuum_vacuum_cost_delay = 0);
alter table event_batch_1 set (autovacuum_enabled = false, toast.autovacuum_enabled = false);
alter table event_batch_2 set (autovacuum_enabled = false, toast.autovacuum_enabled = false);
alter table event_batch_3 set (autovacuum_enabled = false, toast.autovacuum_enabled = false);
alter table event_batch_4 set (autovacuum_enabled = false, toast.autovacuum_enabled = false);

-- Which life of the database this is. `timeline` is that of the WAL position.
create table log_state (
    singleton boolean primary key default true constraint log_state_is_one_row check (singleton),
    log_epoch bigint not null,
    system_identifier text not null,
    timeline text not null,
    raised_at timestamptz not null default clock_timestamp(),
    -- The segment that events of short-lived streams are written to, and since when.
    ring_segment smallint not null default 1 constraint log_state_ring_range check (ring_segment between 1 and 4),
    ring_turned_at timestamptz not null default clock_timestamp(),
    -- The segment that waits to be truncated, and the transaction that found nothing readable in it.
    ring_condemned smallint,
    ring_condemned_by xid8
);

create function current_timeline() returns text
language sql volatile
as $$ select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) $$;

insert into log_state (log_epoch, system_identifier, timeline)
select 0, system_identifier::text, current_timeline() from pg_control_system();

-- The payload as JSON, or null when it is not JSON. Postgres 15 has no IS JSON; an exception block is what is left.
create function payload_json(p_payload bytea) returns jsonb
language plpgsql immutable parallel safe
as $$
begin
    return convert_from(p_payload, 'UTF8')::jsonb;
exception when others then
    return null;
end
$$;

-- Who published the event at a place of a row, counted from 1.
create function publisher_at(p_publishers text[], p_counts integer[], p_place bigint) returns text
language sql immutable parallel safe
as $$
    select case when p_counts is null then p_publishers[1] else (
        select r.publisher from (
            select u.publisher, sum(u.events) over (order by u.place) as last
            from unnest(p_publishers, p_counts) with ordinality as u(publisher, events, place)
        ) r where r.last >= p_place order by r.last limit 1
    ) end
$$;
