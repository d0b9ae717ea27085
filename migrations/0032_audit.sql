-- Who did what to which object, from where, with which result.
--
-- Changes are recorded in their own transaction. Refusals and failed sign-ins are gathered by brokers for a second, counted, and
-- bounded for an hour and an organization: nobody fills the disk by being refused. Nobody but the owner's pruning changes or removes
-- a row: the broker may insert and read, within one organization at a time, and cannot choose the time.

create table audit_event (
    audit_id bigint generated always as identity,
    organization_id bigint not null references organization,
    occurred_at timestamptz not null default clock_timestamp(),
    -- `user:` or `key:` and an id; `operator`: somebody at the database. Empty: nobody who is known here.
    actor text not null,
    -- The name of the RPC, or of what an operator did.
    action text not null,
    -- Such as `stream:orders`. Empty where there is none.
    object text not null default '',
    detail text not null default '',
    result text not null constraint audit_event_result_is_known check (result in ('done', 'refused', 'failed')),
    -- Error reason of what was not done.
    reason text not null default '',
    address text not null default '',
    -- Of the call; of the first one where several are counted.
    request_id text not null default '',
    -- How often it happened within the second.
    times integer not null default 1 constraint audit_event_happened check (times > 0),
    primary key (organization_id, audit_id),
    constraint audit_event_is_short check (
        octet_length(actor) <= 256 and octet_length(action) <= 64 and octet_length(object) <= 1024
        and octet_length(detail) <= 1024 and octet_length(reason) <= 64 and octet_length(address) <= 64
        and octet_length(request_id) <= 64)
);
create index audit_event_age on audit_event (occurred_at);
-- For the bound.
create index audit_event_not_done on audit_event (organization_id, result, occurred_at) where result <> 'done';

alter table audit_event enable row level security;
alter table audit_event force row level security;
create policy owner_all on audit_event to eventflow_owner using (true) with check (true);
create policy tenant_reads on audit_event for select to eventflow_broker
    using (organization_id = current_organization());
create policy tenant_adds on audit_event for insert to eventflow_broker
    with check (organization_id = current_organization());
grant select on audit_event to eventflow_broker;
-- Neither the time nor the number is theirs to choose.
grant insert (organization_id, actor, action, object, detail, result, reason, address, request_id)
    on audit_event to eventflow_broker;

-- What an operator did, for the functions that do it.
create function audit_operator(p_organization bigint, p_action text, p_object text, p_detail text) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    insert into audit_event (organization_id, actor, action, object, detail, result, address)
    values (p_organization, 'operator', p_action, left(p_object, 256), left(p_detail, 256), 'done',
            coalesce(host(inet_client_addr()), ''))
$$;

-- What was refused or failed, counted by a broker. An organization is named by its number, by its name (somebody wanted to sign in
-- there: an address that is no user's is not kept, it could be a mistyped password), or by a key of its own. What concerns no
-- organization is dropped. At most 250 rows an hour for an organization and a result; the last of them says that there was more.
-- Returns how many rows were dropped for that.
create function audit_refusals_v1(
    p_organization bigint[], p_organization_name text[], p_email text[], p_actor text[], p_action text[], p_object text[],
    p_result text[], p_reason text[], p_address text[], p_request_id text[], p_times integer[]
) returns bigint
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    with named as (
        select coalesce(g.organization_id, o.organization_id, k.organization_id) as organization_id,
               case when g.email = '' then g.actor else coalesce('user:' || u.user_id, '') end as actor,
               g.action, g.object, g.result, g.reason, g.address, min(g.request_id) as request_id,
               least(sum(g.times), 1000000000)::integer as times
        from unnest(p_organization, p_organization_name, p_email, p_actor, p_action, p_object, p_result, p_reason, p_address,
                    p_request_id, p_times)
            as g (organization_id, organization_name, email, actor, action, object, result, reason, address, request_id, times)
        left join organization o on g.organization_id is null and o.name = g.organization_name
        left join user_account u on u.organization_id = o.organization_id and u.email = g.email
        left join api_key k on g.organization_id is null and g.organization_name = '' and 'key:' || k.key_id = g.actor
        where coalesce(g.organization_id, o.organization_id, k.organization_id) is not null
        group by 1, 2, 3, 4, 5, 6, 7
    ), already as (
        select n.organization_id, n.result, (
            select count(*) from audit_event a
            where a.organization_id = n.organization_id and a.result = n.result and a.result <> 'done'
              and a.occurred_at >= date_trunc('hour', clock_timestamp())) as rows
        from named n group by 1, 2
    ), placed as (
        select n.*, a.rows + row_number() over (partition by n.organization_id, n.result order by n.times desc) as place
        from named n join already a using (organization_id, result)
    ), added as (
        insert into audit_event (organization_id, actor, action, object, detail, result, reason, address, request_id, times)
        select organization_id, actor, action, object, '', result, reason, address, request_id, times
        from placed where place < 250
        union all
        select organization_id, '', 'TooManyToList', '', 'more of this hour is only counted in metrics', result, '', '', '', 1
        from placed where place = 250
    )
    select count(*) from placed where place >= 250
$$;

-- The functions of signing in, and their entries.

create function begin_session_v2(
    p_user uuid, p_password_hash text, p_new_hash text, p_refresh_sha256 bytea, p_client text, p_address text,
    p_session_seconds integer, p_refresh_seconds integer, p_request_id text
) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_session uuid := begin_session_v1(
        p_user, p_password_hash, p_new_hash, p_refresh_sha256, p_client, p_address, p_session_seconds, p_refresh_seconds);
begin
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    select s.organization_id, 'user:' || p_user, 'Login', 'session:' || v_session, 'done', p_address, p_request_id
    from user_session s where s.session_id = v_session;
    return v_session;
end
$$;

create function refresh_session_v2(
    p_token_sha256 bytea, p_next_sha256 bytea, p_refresh_seconds integer, p_address text, p_request_id text)
returns table (session_id uuid, reused boolean)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_outcome record;
begin
    for v_outcome in select r.session_id, r.reused from refresh_session_v1(p_token_sha256, p_next_sha256, p_refresh_seconds) r loop
        if v_outcome.reused then
            -- Once for a session, which has ended with this.
            insert into audit_event (organization_id, actor, action, object, detail, result, reason, address, request_id)
            select s.organization_id, 'user:' || s.user_id, 'RefreshSession', 'session:' || s.session_id,
                   'a refresh token came twice: the session has ended', 'failed', 'SESSION_ENDED', p_address, p_request_id
            from user_session s where s.session_id = v_outcome.session_id;
        end if;
        session_id := v_outcome.session_id;
        reused := v_outcome.reused;
        return next;
    end loop;
end
$$;

create function logout_v2(p_token_sha256 bytea, p_address text, p_request_id text) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_session uuid := logout_v1(p_token_sha256);
begin
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    select s.organization_id, 'user:' || s.user_id, 'Logout', 'session:' || s.session_id, 'done', p_address, p_request_id
    from user_session s where s.session_id = v_session;
    return v_session;
end
$$;

create function accept_invitation_v2(p_token_sha256 bytea, p_password_hash text, p_address text, p_request_id text)
returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_user uuid := accept_invitation_v1(p_token_sha256, p_password_hash);
begin
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    select u.organization_id, 'user:' || u.user_id, 'AcceptInvitation', 'user:' || u.user_id, 'done', p_address, p_request_id
    from user_account u where u.user_id = v_user;
    return v_user;
end
$$;

-- Forgets what is older, but never what is younger than a week. At most so many at once; returns how many.
create function prune_audit_v1(p_retention_seconds bigint, p_limit integer) returns bigint
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_gone bigint;
begin
    delete from audit_event where ctid = any(array(
        select a.ctid from audit_event a
        where a.occurred_at < clock_timestamp() - greatest(p_retention_seconds, 604800) * interval '1 s'
        order by a.occurred_at limit p_limit));
    get diagnostics v_gone = row_count;
    return v_gone;
end
$$;

revoke execute on function audit_operator(bigint, text, text, text),
    audit_refusals_v1(bigint[], text[], text[], text[], text[], text[], text[], text[], text[], text[], integer[]),
    begin_session_v2(uuid, text, text, bytea, text, text, integer, integer, text),
    refresh_session_v2(bytea, bytea, integer, text, text), logout_v2(bytea, text, text),
    accept_invitation_v2(bytea, text, text, text), prune_audit_v1(bigint, integer) from public;
grant execute on function
    audit_refusals_v1(bigint[], text[], text[], text[], text[], text[], text[], text[], text[], text[], integer[]),
    begin_session_v2(uuid, text, text, bytea, text, text, integer, integer, text),
    refresh_session_v2(bytea, bytea, integer, text, text), logout_v2(bytea, text, text),
    accept_invitation_v2(bytea, text, text, text), prune_audit_v1(bigint, integer) to eventflow_broker;
