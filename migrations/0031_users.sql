-- People: who they are, the sessions that they have, and the keys that sign access tokens.
--
-- Sign-in happens before anybody's organization is known, so it goes through functions; the administration of users is plain
-- SQL under forced row-level security.

create table user_account (
    user_id uuid primary key default gen_random_uuid(),
    organization_id bigint not null references organization,
    email text not null constraint user_account_email_is_lower_case check (email = lower(email)),
    name text not null default '',
    role text not null constraint user_account_role_is_known check (role in ('admin', 'editor', 'viewer')),
    disabled boolean not null default false,
    -- Argon2id as a PHC string; null until the invitation was accepted.
    password_hash text,
    has_password boolean not null generated always as (password_hash is not null) stored,
    -- SHA-256 of the one token that sets a password, and when it ends.
    invitation_sha256 bytea,
    invitation_expires_at timestamptz,
    created_at timestamptz not null default clock_timestamp(),
    last_login_at timestamptz,
    constraint user_account_email_key unique (organization_id, email),
    constraint user_account_invitation_is_whole check ((invitation_sha256 is null) = (invitation_expires_at is null))
);
create unique index user_account_invitation_key on user_account (invitation_sha256);

create table user_session (
    session_id uuid primary key default gen_random_uuid(),
    user_id uuid not null references user_account on delete cascade,
    organization_id bigint not null,
    client text not null,
    address text not null,
    created_at timestamptz not null default clock_timestamp(),
    -- It ends then, whatever happens.
    expires_at timestamptz not null,
    ended_at timestamptz,
    end_reason text constraint user_session_end_reason_is_known
        check (end_reason in ('logout', 'reuse', 'password', 'disabled', 'reset'))
);
create index user_session_user_key on user_session (user_id);

-- Refresh tokens of a session, one after the other; those that are used up are kept as long as the session, to notice a thief.
create table refresh_token (
    token_sha256 bytea primary key,
    session_id uuid not null references user_session on delete cascade,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index refresh_token_session_key on refresh_token (session_id);

-- Failed attempts to sign in, by what is throttled: an account from an address, an address, an account. Names are hashed, so
-- that a mistyped password in the place of an address is not kept.
create table sign_in_attempt (
    subject bytea primary key,
    failures integer not null,
    window_started_at timestamptz not null
);

-- Ed25519 keys of access tokens.
create table signing_key (
    key_id text primary key,
    private_pkcs8 bytea not null,
    public_key bytea not null,
    created_at timestamptz not null default clock_timestamp()
);

-- The usable account of that address; no row also when it is disabled or has no password.
create function find_sign_in_v1(p_organization_name text, p_email text)
returns table (user_id uuid, organization_id bigint, password_hash text)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select u.user_id, u.organization_id, u.password_hash
    from user_account u join organization o using (organization_id)
    where o.name = p_organization_name and u.email = p_email and not u.disabled and u.password_hash is not null
$$;

-- Begins a session, unless the password was changed or the user was disabled since it was checked.
create function begin_session_v1(
    p_user uuid, p_password_hash text, p_new_hash text, p_refresh_sha256 bytea, p_client text, p_address text,
    p_session_seconds integer, p_refresh_seconds integer
) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_session uuid;
    v_organization bigint;
begin
    update user_account set last_login_at = clock_timestamp(), password_hash = coalesce(p_new_hash, password_hash)
    where user_id = p_user and password_hash = p_password_hash and not disabled
    returning organization_id into v_organization;
    if not found then
        return null;
    end if;
    insert into user_session (user_id, organization_id, client, address, expires_at)
    values (p_user, v_organization, p_client, p_address, clock_timestamp() + p_session_seconds * interval '1 s')
    returning session_id into v_session;
    insert into refresh_token (token_sha256, session_id, expires_at)
    values (p_refresh_sha256, v_session, clock_timestamp() + least(p_refresh_seconds, p_session_seconds) * interval '1 s');
    return v_session;
end
$$;

-- Uses a refresh token up and gives the next one. Under the lock of the session: of two uses at the same time one wins, and the
-- other one ends the session. No row: the token is not good (any more).
create function refresh_session_v1(p_token_sha256 bytea, p_next_sha256 bytea, p_refresh_seconds integer)
returns table (session_id uuid, reused boolean)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_session user_session;
    v_token refresh_token;
begin
    select s.* into v_session from user_session s
    where s.session_id = (select t.session_id from refresh_token t where t.token_sha256 = p_token_sha256)
    for update;
    if not found or v_session.ended_at is not null or v_session.expires_at <= clock_timestamp() then
        return;
    end if;
    if exists (select from user_account u where u.user_id = v_session.user_id and u.disabled) then
        return;
    end if;
    select t.* into strict v_token from refresh_token t where t.token_sha256 = p_token_sha256;
    if v_token.used_at is not null then
        update user_session s set ended_at = clock_timestamp(), end_reason = 'reuse'
        where s.session_id = v_session.session_id;
        return query select v_session.session_id, true;
        return;
    end if;
    if v_token.expires_at <= clock_timestamp() then
        return;
    end if;
    update refresh_token t set used_at = clock_timestamp() where t.token_sha256 = p_token_sha256;
    insert into refresh_token (token_sha256, session_id, expires_at)
    values (p_next_sha256, v_session.session_id,
            least(v_session.expires_at, clock_timestamp() + p_refresh_seconds * interval '1 s'));
    return query select v_session.session_id, false;
end
$$;

-- A session that may be used now: whose it is, what they may do now, and the times that a token needs (microseconds).
create function find_session_v1(p_session uuid)
returns table (
    organization_id bigint, user_id uuid, role text, now_us bigint, session_expires_us bigint, refresh_expires_us bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select s.organization_id, s.user_id, u.role,
           (extract(epoch from clock_timestamp()) * 1000000)::bigint,
           (extract(epoch from s.expires_at) * 1000000)::bigint,
           (extract(epoch from (
               select max(t.expires_at) from refresh_token t
               where t.session_id = s.session_id and t.used_at is null)) * 1000000)::bigint
    from user_session s join user_account u using (user_id)
    where s.session_id = p_session and s.ended_at is null and s.expires_at > clock_timestamp() and not u.disabled
$$;

-- Those of the sessions that may be used now, with the role that their users have now.
create function good_sessions_v1(p_sessions uuid[]) returns table (session_id uuid, role text)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select s.session_id, u.role from user_session s join user_account u using (user_id)
    where s.session_id = any(p_sessions) and s.ended_at is null and s.expires_at > clock_timestamp() and not u.disabled
$$;

-- Ends the session that a refresh token belongs to. Returns it.
create function logout_v1(p_token_sha256 bytea) returns uuid
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    update user_session s set ended_at = clock_timestamp(), end_reason = 'logout'
    where s.session_id = (select t.session_id from refresh_token t where t.token_sha256 = p_token_sha256)
      and s.ended_at is null
    returning s.session_id
$$;

-- Sets the password of whoever was given this token, and ends their sessions. Returns the user; null: no such invitation.
create function accept_invitation_v1(p_token_sha256 bytea, p_password_hash text) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_user uuid;
begin
    -- One statement under the row's lock: of two uses at the same time one finds nothing.
    update user_account set password_hash = p_password_hash, invitation_sha256 = null, invitation_expires_at = null
    where invitation_sha256 = p_token_sha256 and invitation_expires_at > clock_timestamp() and not disabled
    returning user_id into v_user;
    update user_session set ended_at = clock_timestamp(), end_reason = 'reset'
    where user_id = v_user and ended_at is null;
    return v_user;
end
$$;

-- A user's password hash, for the comparison when they change it.
create function password_hash_v1(p_organization bigint, p_user uuid) returns text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select u.password_hash from user_account u where u.organization_id = p_organization and u.user_id = p_user and not u.disabled
$$;

-- Sets another password, unless it has changed since it was looked at.
create function set_password_v1(p_organization bigint, p_user uuid, p_old_hash text, p_new_hash text) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    update user_account set password_hash = p_new_hash
    where organization_id = p_organization and user_id = p_user and password_hash = p_old_hash and not disabled;
    return found;
end
$$;

-- How many seconds the most throttled of the subjects still has to wait; 0: go on. A window is 15 minutes.
create function sign_in_wait_v1(p_subjects bytea[], p_limits integer[]) returns integer
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select coalesce(max(ceil(extract(epoch from a.window_started_at + interval '15 min' - clock_timestamp()))), 0)::integer
    from unnest(p_subjects, p_limits) as asked (subject, failures)
    join sign_in_attempt a using (subject)
    where a.failures >= asked.failures and a.window_started_at > clock_timestamp() - interval '15 min'
$$;

create function sign_in_failed_v1(p_subjects bytea[]) returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    insert into sign_in_attempt as a (subject, failures, window_started_at)
    -- In one order, for attempts at the same time.
    select subject, 1, clock_timestamp() from unnest(p_subjects) as subject order by subject
    on conflict (subject) do update
    set failures = case when a.window_started_at > clock_timestamp() - interval '15 min' then a.failures + 1 else 1 end,
        window_started_at = case
            when a.window_started_at > clock_timestamp() - interval '15 min' then a.window_started_at
            else clock_timestamp() end
$$;

-- Keys that tokens may be signed with, newest first, and which of them signs: the newest that every broker has had a minute to
-- learn of, or the only one. A key is good for an hour after the next one was made.
create function signing_keys_v1() returns table (key_id text, private_pkcs8 bytea, public_key bytea, signs boolean, due boolean)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    with good as (
        select k.*, row_number() over (order by k.created_at desc) as place
        from signing_key k
        where not exists (
            select from signing_key n where n.created_at > k.created_at and n.created_at < clock_timestamp() - interval '1 h')
    ), signer as (
        select g.key_id from good g
        order by (g.created_at < clock_timestamp() - interval '1 min') desc,
                 case when g.created_at < clock_timestamp() - interval '1 min' then g.place else -g.place end
        limit 1
    )
    select g.key_id, g.private_pkcs8, g.public_key, g.key_id = s.key_id,
           g.place = 1 and g.created_at < clock_timestamp() - interval '30 days'
    from good g cross join signer s order by g.place
$$;

-- Adds a key unless the newest one is young, and forgets those that no token can need.
create function add_signing_key_v1(p_key_id text, p_private_pkcs8 bytea, p_public_key bytea) returns void
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    -- One broker at a time.
    lock table signing_key in share row exclusive mode;
    if exists (select from signing_key where created_at > clock_timestamp() - interval '30 days') then
        return;
    end if;
    insert into signing_key (key_id, private_pkcs8, public_key) values (p_key_id, p_private_pkcs8, p_public_key);
    delete from signing_key where created_at < clock_timestamp() - interval '60 days' and key_id <> p_key_id;
end
$$;

-- Sessions that ended a week ago, and attempts that nobody counts any more.
create function prune_sessions_v1() returns void
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    delete from user_session
    where coalesce(ended_at, expires_at) < clock_timestamp() - interval '7 days'
       or expires_at < clock_timestamp() - interval '7 days';
    delete from sign_in_attempt where window_started_at < clock_timestamp() - interval '1 day'
$$;

-- Bootstrap by an operator: a user of the organization, which is made when it is missing. Null: the address is taken.
create function invite_user_v1(
    p_organization_name text, p_email text, p_role text, p_invitation_sha256 bytea, p_invitation_seconds integer
) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_user uuid;
begin
    insert into organization (name) values (p_organization_name) on conflict (name) do nothing;
    insert into user_account (organization_id, email, role, invitation_sha256, invitation_expires_at)
    select o.organization_id, p_email, p_role, p_invitation_sha256,
           clock_timestamp() + p_invitation_seconds * interval '1 s'
    from organization o where o.name = p_organization_name
    on conflict (organization_id, email) do nothing
    returning user_id into v_user;
    perform audit_operator(u.organization_id, 'InviteUser', 'user:' || v_user, 'role ' || p_role)
    from user_account u where u.user_id = v_user;
    return v_user;
end
$$;

do $$
declare
    v_table text;
begin
    foreach v_table in array array['user_account', 'user_session'] loop
        execute format('alter table %I enable row level security', v_table);
        execute format('alter table %I force row level security', v_table);
        execute format('create policy owner_all on %I to eventflow_owner using (true) with check (true)', v_table);
        execute format('create policy tenant on %I to eventflow_broker using (organization_id = current_organization())'
                       ' with check (organization_id = current_organization())', v_table);
    end loop;
end
$$;

-- The broker manages users within one organization at a time. It sees whether there is a password, not the password's hash,
-- but for the one function that checks it.
grant select (
    user_id, organization_id, email, name, role, disabled, has_password, invitation_expires_at, created_at, last_login_at)
    on user_account to eventflow_broker;
grant insert, delete on user_account to eventflow_broker;
grant update (name, role, disabled, password_hash, invitation_sha256, invitation_expires_at)
    on user_account to eventflow_broker;
grant select (session_id, user_id, organization_id, ended_at, expires_at), update (ended_at, end_reason)
    on user_session to eventflow_broker;

revoke execute on function find_sign_in_v1(text, text),
    begin_session_v1(uuid, text, text, bytea, text, text, integer, integer),
    refresh_session_v1(bytea, bytea, integer), find_session_v1(uuid), good_sessions_v1(uuid[]), logout_v1(bytea),
    accept_invitation_v1(bytea, text), sign_in_wait_v1(bytea[], integer[]), sign_in_failed_v1(bytea[]), signing_keys_v1(),
    add_signing_key_v1(text, bytea, bytea), prune_sessions_v1(), invite_user_v1(text, text, text, bytea, integer),
    password_hash_v1(bigint, uuid), set_password_v1(bigint, uuid, text, text) from public;
grant execute on function find_sign_in_v1(text, text),
    begin_session_v1(uuid, text, text, bytea, text, text, integer, integer),
    refresh_session_v1(bytea, bytea, integer), find_session_v1(uuid), good_sessions_v1(uuid[]), logout_v1(bytea),
    accept_invitation_v1(bytea, text), sign_in_wait_v1(bytea[], integer[]), sign_in_failed_v1(bytea[]), signing_keys_v1(),
    add_signing_key_v1(text, bytea, bytea), prune_sessions_v1(), invite_user_v1(text, text, text, bytea, integer),
    password_hash_v1(bigint, uuid), set_password_v1(bigint, uuid, text, text)
    to eventflow_broker;
