-- What operators allow an organization, or one of its credentials, beside the defaults of the brokers' configuration.

create table quota (
    organization_id bigint not null references organization,
    -- Empty for the organization itself; otherwise a credential as events name their publisher, such as `key:4fTq…`.
    credential text not null default '',
    name text not null,
    -- Null lifts the default: no limit.
    value bigint constraint quota_is_not_negative check (value >= 0),
    changed_at timestamptz not null default clock_timestamp(),
    primary key (organization_id, credential, name)
);

alter table quota enable row level security;
alter table quota force row level security;
create policy owner_all on quota to eventflow_owner using (true) with check (true);
create policy tenant on quota for select to eventflow_broker using (organization_id = current_organization());
grant select on quota to eventflow_broker;

-- All of them, for the brokers' memory.
create function quotas_v1()
returns table (organization_id bigint, credential text, name text, value bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$ select q.organization_id, q.credential, q.name, q.value from quota q $$;

-- Every organization, for a limit that holds for all of them.
create function organizations_v1() returns setof bigint
language sql stable security definer set search_path = eventflow, pg_temp
as $$ select organization_id from organization $$;

-- Bytes of the retained events of these organizations, from the cumulative counters of the log: a few index probes a partition.
create function stored_bytes_v1(p_organizations bigint[])
returns table (organization_id bigint, bytes bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select h.organization_id, sum(e.bytes - f.bytes)::bigint
    from partition_head h
    cross join lateral partition_end(h.partition_id) e
    cross join lateral partition_before(h.partition_id, h.floor_offset) f
    where not h.deleted and h.organization_id = any(p_organizations)
    group by h.organization_id
$$;

-- By an operator. False: there is no such organization.
create function set_quota_v1(p_organization_name text, p_credential text, p_name text, p_value bigint) returns boolean
language plpgsql security definer set search_path = eventflow, pg_temp
as $$
declare
    v_organization bigint;
begin
    select organization_id into v_organization from organization where name = p_organization_name;
    if not found then
        return false;
    end if;
    insert into quota (organization_id, credential, name, value)
    values (v_organization, p_credential, p_name, p_value)
    on conflict (organization_id, credential, name) do update
        set value = excluded.value, changed_at = clock_timestamp();
    perform audit_operator(v_organization, 'SetQuota', 'quota:' || p_name,
                           coalesce(p_value::text, 'no limit') || coalesce(' for ' || nullif(p_credential, ''), ''));
    return true;
end
$$;

-- The defaults of the configuration hold again. How many were removed; null: there is no such organization.
create function clear_quota_v1(p_organization_name text, p_credential text, p_name text) returns bigint
language plpgsql security definer set search_path = eventflow, pg_temp
as $$
declare
    v_organization bigint;
    v_removed bigint;
begin
    select organization_id into v_organization from organization where name = p_organization_name;
    if not found then
        return null;
    end if;
    delete from quota where organization_id = v_organization and credential = p_credential
        and (p_name is null or name = p_name);
    get diagnostics v_removed = row_count;
    if v_removed > 0 then
        perform audit_operator(v_organization, 'ClearQuota', 'quota:' || coalesce(p_name, '*'),
                               coalesce('for ' || nullif(p_credential, ''), ''));
    end if;
    return v_removed;
end
$$;

-- What operators have set, by name of the organization.
create function list_quotas_v1(p_organization_name text)
returns table (organization text, credential text, name text, value bigint, changed_at timestamptz)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select o.name, q.credential, q.name, q.value, q.changed_at
    from quota q join organization o using (organization_id)
    where p_organization_name is null or o.name = p_organization_name
    order by o.name, q.credential, q.name
$$;

revoke execute on function quotas_v1(), organizations_v1(), stored_bytes_v1(bigint[]), set_quota_v1(text, text, text, bigint),
    clear_quota_v1(text, text, text), list_quotas_v1(text) from public;
-- `eventflow admin` acts as a broker does.
grant execute on function quotas_v1(), organizations_v1(), stored_bytes_v1(bigint[]), set_quota_v1(text, text, text, bigint),
    clear_quota_v1(text, text, text), list_quotas_v1(text) to eventflow_broker;
