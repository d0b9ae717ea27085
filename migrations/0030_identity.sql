-- What an API key may do: scopes, each everywhere or in the streams that a pattern names (`publish`, `publish:orders.*`).
-- Keys made before have every scope.

alter table api_key
    add column environment text not null default 'live'
        constraint api_key_environment_is_known check (environment in ('live', 'test')),
    -- `key:` and the id of the key that made it; `operator`: somebody at the database.
    add column created_by text not null default 'operator',
    -- Written at most twice a minute.
    add column last_used_at timestamptz,
    -- The key that takes its place, after a rotation.
    add column successor text,
    add column scopes text[] not null default array['publish', 'consume', 'read', 'manage'],
    add constraint api_key_scopes_are_known check (
        cardinality(scopes) between 1 and 64
        and array_to_string(scopes, ' ', '?')
            ~ '^(publish|consume|read|manage)(:[a-z0-9._*-]{1,128})?( (publish|consume|read|manage)(:[a-z0-9._*-]{1,128})?)*$');

create index api_key_organization_key on api_key (organization_id, created_at, key_id);

create function find_api_key_v2(p_key_id text)
returns table (organization_id bigint, secret_sha256 bytea, expired boolean, revoked boolean, scopes text[])
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select k.organization_id, k.secret_sha256,
           coalesce(k.expires_at <= clock_timestamp(), false), k.revoked_at is not null, k.scopes
    from api_key k where k.key_id = p_key_id
$$;

-- A broker from before scopes would take every key for one that may do everything: it is told of those only that may.
create or replace function find_api_key_v1(p_key_id text)
returns table (organization_id bigint, secret_sha256 bytea, expired boolean, revoked boolean)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select f.organization_id, f.secret_sha256, f.expired, f.revoked
    from find_api_key_v2(p_key_id) f
    where f.scopes @> array['publish', 'consume', 'read', 'manage']
$$;

-- Those of the keys that may be used now.
create function good_api_keys_v1(p_key_ids text[]) returns setof text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select k.key_id from api_key k
    where k.key_id = any(p_key_ids) and k.revoked_at is null
      and coalesce(k.expires_at > clock_timestamp(), true)
$$;

-- Bootstrap by an operator: makes the organization when it is missing.
create function create_api_key_v2(
    p_organization_name text, p_key_id text, p_secret_sha256 bytea, p_environment text, p_description text,
    p_scopes text[]
) returns bigint
language plpgsql security definer set search_path = eventflow, pg_temp
as $$
declare
    v_organization bigint;
begin
    v_organization := create_api_key_v1(p_organization_name, p_key_id, p_secret_sha256, p_description);
    update api_key set scopes = p_scopes, environment = p_environment where key_id = p_key_id;
    perform audit_operator(v_organization, 'CreateApiKey', 'key:' || p_key_id, array_to_string(p_scopes, ' '));
    return v_organization;
end
$$;

-- Remembers that keys were used.
create function touch_api_keys_v1(p_key_ids text[]) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update api_key k set last_used_at = clock_timestamp()
    where k.key_id in (
        select t.key_id from api_key t
        where t.key_id = any(p_key_ids)
          and coalesce(t.last_used_at < clock_timestamp() - interval '30 s', true)
        -- In one order, for brokers that write at the same time; who comes second has nothing to add.
        order by t.key_id for update skip locked)
$$;

-- The broker manages keys within one organization at a time, and cannot read the hashes of secrets.
grant select (
    key_id, organization_id, environment, description, scopes, created_by, created_at, expires_at, last_used_at, revoked_at,
    successor) on api_key to eventflow_broker;
grant insert on api_key to eventflow_broker;
grant update (expires_at, revoked_at, successor) on api_key to eventflow_broker;

revoke execute on function find_api_key_v2(text), good_api_keys_v1(text[]), touch_api_keys_v1(text[]),
    create_api_key_v2(text, text, bytea, text, text, text[]) from public;
grant execute on function find_api_key_v2(text), good_api_keys_v1(text[]), touch_api_keys_v1(text[]),
    create_api_key_v2(text, text, bytea, text, text, text[]) to eventflow_broker;
