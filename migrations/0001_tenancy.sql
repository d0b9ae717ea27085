-- Roles are made by the migration runner before this file: eventflow_owner (owns every object, cannot log in),
-- eventflow_broker (what a broker acts as), eventflow_reader (SQL readers are members of it).
--
-- Two kinds of tables. Cold ones are administered by plain SQL under forced row-level security: the organization is a
-- transaction-local setting. Hot ones (the log, producer runs, progress, membership) grant the broker nothing: it reaches
-- them through SECURITY DEFINER functions whose inputs name the organization, because one flush serves many organizations.

create table organization (
    organization_id bigint generated always as identity primary key,
    name text not null constraint organization_name_key unique,
    created_at timestamptz not null default clock_timestamp()
);

create table api_key (
    key_id text primary key,
    organization_id bigint not null references organization,
    secret_sha256 bytea not null constraint api_key_secret_is_a_hash check (octet_length(secret_sha256) = 32),
    description text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- Which organization a SQL reader sees. Never a setting: a reader could change that.
create table sql_reader (
    role_name name primary key,
    organization_id bigint not null references organization
);

-- What an administrative request answered, so that the same request again answers the same (for a day).
create table admin_request (
    organization_id bigint not null,
    request_id uuid not null,
    method text not null,
    fingerprint bytea not null,
    response bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (organization_id, request_id)
);

-- Keys that all brokers share, such as the one that seals page tokens.
create table shared_secret (
    name text primary key,
    value bytea not null
);

create function current_organization() returns bigint
language sql stable
as $$ select nullif(current_setting('eventflow.organization_id', true), '')::bigint $$;

create function reader_organization() returns bigint
language sql stable security definer set search_path = eventflow, pg_temp
as $$ select organization_id from sql_reader where role_name = session_user $$;

create function find_api_key_v1(p_key_id text)
returns table (organization_id bigint, secret_sha256 bytea, expired boolean, revoked boolean)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select k.organization_id, k.secret_sha256,
           coalesce(k.expires_at <= clock_timestamp(), false), k.revoked_at is not null
    from api_key k where k.key_id = p_key_id
$$;

-- Bootstrap by an operator: makes the organization when it is missing.
create function create_api_key_v1(
    p_organization_name text, p_key_id text, p_secret_sha256 bytea, p_description text
) returns bigint
language plpgsql security definer set search_path = eventflow, pg_temp
as $$
declare
    v_organization bigint;
begin
    insert into organization (name) values (p_organization_name) on conflict (name) do nothing;
    select organization_id into strict v_organization from organization where name = p_organization_name;
    insert into api_key (key_id, organization_id, secret_sha256, description)
    values (p_key_id, v_organization, p_secret_sha256, p_description);
    return v_organization;
end
$$;

create function shared_secret_v1(p_name text) returns bytea
language plpgsql security definer set search_path = eventflow, pg_temp
as $$
declare
    v_value bytea;
begin
    -- gen_random_uuid draws on the server's strong random source; two of them hold 244 random bits.
    insert into shared_secret (name, value)
    values (p_name, sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea))
    on conflict (name) do nothing;
    select value into strict v_value from shared_secret where name = p_name;
    return v_value;
end
$$;
