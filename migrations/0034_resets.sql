-- Resets of passwords that people ask for by mail. They use the one token that an account has, that of invitations: the newest one
-- counts, and whoever has no password yet keeps their invitation.

-- Gives the account a token that sets another password; the password goes on until then. False: no account of that address
-- may sign in.
create function request_reset_v1(
    p_organization_name text, p_email text, p_token_sha256 bytea, p_seconds integer, p_address text, p_request_id text
) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_account user_account;
begin
    update user_account u
    set invitation_sha256 = p_token_sha256, invitation_expires_at = clock_timestamp() + p_seconds * interval '1 s'
    from organization o
    where o.name = p_organization_name and u.organization_id = o.organization_id and u.email = p_email
      and not u.disabled and u.password_hash is not null
    returning u.* into v_account;
    if not found then
        return false;
    end if;
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    values (v_account.organization_id, '', 'RequestPasswordReset', 'user:' || v_account.user_id, 'done', p_address, p_request_id);
    return true;
end
$$;

-- As accept_invitation_v2, for whoever has forgotten their password.
create function reset_password_v1(p_token_sha256 bytea, p_password_hash text, p_address text, p_request_id text)
returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_user uuid := accept_invitation_v1(p_token_sha256, p_password_hash);
begin
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    select u.organization_id, 'user:' || u.user_id, 'ResetPassword', 'user:' || u.user_id, 'done', p_address, p_request_id
    from user_account u where u.user_id = v_user;
    return v_user;
end
$$;

-- Another password also ends the token of a reset that nobody used: a mail may be in other hands.
create or replace function set_password_v1(p_organization bigint, p_user uuid, p_old_hash text, p_new_hash text)
returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
begin
    update user_account set password_hash = p_new_hash, invitation_sha256 = null, invitation_expires_at = null
    where organization_id = p_organization and user_id = p_user and password_hash = p_old_hash and not disabled;
    return found;
end
$$;

revoke execute on function request_reset_v1(text, text, bytea, integer, text, text), reset_password_v1(bytea, text, text, text)
    from public;
grant execute on function request_reset_v1(text, text, bytea, integer, text, text), reset_password_v1(bytea, text, text, text)
    to eventflow_broker;
