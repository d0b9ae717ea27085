-- Processing rules: what the rules of a stream are, who runs them, and what they have counted. Cold: administered by plain SQL
-- under row-level security; brokers learn of changes by asking for a stamp.

-- A stream with rules, and the consumer group that runs them. Gone with its last rule.
create table rule_pipeline (
    stream_id bigint primary key references stream on delete cascade,
    organization_id bigint not null,
    -- Not a foreign key: a group may be deleted by a broker that knows nothing of rules, and is made again with the next change.
    group_id bigint not null,
    -- Raised with every change of a rule, under the stream's row lock.
    version bigint not null default 1
);
create index rule_pipeline_group on rule_pipeline (group_id);

create table processing_rule (
    rule_id bigint generated always as identity primary key,
    organization_id bigint not null,
    stream_id bigint not null references rule_pipeline on delete cascade,
    name text not null,
    description text not null default '',
    -- Its place in the order; changed for all rules of a stream together.
    position integer not null constraint processing_rule_position check (position >= 1),
    disabled boolean not null default false,
    -- Empty: every event matches.
    filter text not null default '',
    action text not null constraint processing_rule_action check (action in ('pass', 'drop', 'route', 'headers', 'redact')),
    -- By the action: the stream that copies go to; headers to set, as an object of texts, and to remove; JSON pointers.
    target text not null default '',
    set_headers jsonb not null default '{}',
    remove_headers text[] not null default '{}',
    fields text[] not null default '{}',
    version bigint not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint processing_rule_name_key unique (stream_id, name),
    constraint processing_rule_position_key unique (stream_id, position) deferrable initially deferred
);

-- What brokers have counted, a second at a time: one row a rule, raised by each of them.
create table rule_count (
    rule_id bigint primary key references processing_rule on delete cascade,
    organization_id bigint not null,
    processed_events bigint not null default 0,
    matched_events bigint not null default 0,
    copied_events bigint not null default 0,
    failed_attempts bigint not null default 0,
    last_failure text not null default '',
    last_failure_at timestamptz
) with (fillfactor = 50);

do $$
declare
    v_table text;
begin
    foreach v_table in array array['rule_pipeline', 'processing_rule', 'rule_count'] loop
        execute format('alter table %I enable row level security', v_table);
        execute format('alter table %I force row level security', v_table);
        execute format('create policy owner_all on %I to eventflow_owner using (true) with check (true)', v_table);
        execute format('create policy tenant on %I to eventflow_broker using (organization_id = current_organization())'
                       ' with check (organization_id = current_organization())', v_table);
        execute format('grant select, insert, update, delete on %I to eventflow_broker', v_table);
    end loop;
end
$$;

-- Differs when a pipeline or its group was made, changed or removed, whoever's it is: cheaper to ask for than all of them.
create function rule_stamp_v1() returns numeric
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select coalesce(sum(hashint8extended(p.stream_id, hashint8extended(p.group_id, hashint8extended(p.version,
               coalesce(extract(epoch from g.updated_at) * 1000000, 0)::bigint)))), 0)
    from rule_pipeline p left join consumer_group g on g.group_id = p.group_id
$$;

-- Every pipeline that can run.
create function rule_pipelines_v1() returns table (
    organization_id bigint, stream_id bigint, group_id bigint, stream text, consumer_group text, version bigint,
    -- When the group's settings were last changed, in microseconds since 1970.
    settings_at bigint
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select p.organization_id, p.stream_id, p.group_id, s.name, g.name, p.version,
           (extract(epoch from g.updated_at) * 1000000)::bigint
    from rule_pipeline p
    join stream s on s.stream_id = p.stream_id and s.deleted_at is null
    join consumer_group g on g.group_id = p.group_id
    order by p.stream_id
$$;

-- Which of these keys events of a stream have, in whatever partition: a copy that was made before the stream got more partitions
-- is in another one than the same copy would go to now.
create function known_keys_v1(p_organization bigint, p_stream bigint, p_keys text[]) returns setof text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select k.key
    from stream_partition p
    join event_key k on k.partition_id = p.partition_id and k.key = any(p_keys)
    where p.stream_id = p_stream and p.organization_id = p_organization
$$;

revoke execute on function rule_stamp_v1(), rule_pipelines_v1(), known_keys_v1(bigint, bigint, text[]) from public;
grant execute on function rule_stamp_v1(), rule_pipelines_v1(), known_keys_v1(bigint, bigint, text[]) to eventflow_broker;
