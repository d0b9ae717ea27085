-- JSON Schemas of a stream's events. Cold: administered by plain SQL under row-level security, and kept in brokers' memory by
-- stream and revision. A stream without a schema has revision 0, and costs nothing.

alter table stream
    add column schema_enforcement text not null default 'reject'
        constraint stream_schema_enforcement_known check (schema_enforcement in ('off', 'warn', 'reject')),
    add column schema_compatibility text not null default 'backward'
        constraint stream_schema_compatibility_known
        check (schema_compatibility in ('none', 'backward', 'forward', 'full')),
    -- Raised with every schema that is registered, under the stream's row lock, which also makes registrations take turns.
    add column schema_revision bigint not null default 0;

create table event_schema (
    stream_id bigint not null references stream on delete cascade,
    -- Empty: every type that has no schema of its own.
    event_type text not null,
    version integer not null constraint event_schema_version_range check (version between 1 and 1000),
    organization_id bigint not null,
    -- As it was registered, byte for byte.
    definition text not null constraint event_schema_definition_size check (octet_length(definition) <= 65536),
    created_at timestamptz not null default clock_timestamp(),
    primary key (stream_id, event_type, version)
);

alter table event_schema enable row level security;
alter table event_schema force row level security;
create policy owner_all on event_schema to eventflow_owner using (true) with check (true);
create policy tenant on event_schema to eventflow_broker
    using (organization_id = current_organization()) with check (organization_id = current_organization());
create policy reader on event_schema for select to eventflow_reader
    using (organization_id = (select reader_organization()));
grant select, insert on event_schema to eventflow_broker;
grant select on event_schema to eventflow_reader;
