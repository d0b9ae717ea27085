-- Filters of consumer groups.

alter table consumer_group
    -- Empty: every event matches.
    add column filter text not null default ''
        constraint consumer_group_filter_size check (octet_length(filter) <= 4096),
    -- Raised with every change of the filter; 0: it never had one.
    add column filter_version bigint not null default 0;

-- Sessions learn of a change as they learn of a pause: the group's version rises.
create function refilter_v1(p_organization bigint, p_group bigint) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update group_state set version = version + 1
    where group_id = p_group and organization_id = p_organization
$$;

-- What the coordinators of brokers need, who look at groups of all organizations.
create function group_filter_v1(p_group bigint) returns text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select filter from consumer_group where group_id = p_group
$$;

revoke execute on function refilter_v1(bigint, bigint), group_filter_v1(bigint) from public;
grant execute on function refilter_v1(bigint, bigint), group_filter_v1(bigint) to eventflow_broker;
