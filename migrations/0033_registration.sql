-- Organizations that people register by themselves.

alter table organization add column display_name text not null default ''
    constraint organization_display_name_is_short check (octet_length(display_name) <= 128);

-- Its policies show the broker one organization at a time.
grant update (display_name) on organization to eventflow_broker;

-- Makes an organization with its first admin. Null: the name is taken, and nothing was made.
create function register_v1(
    p_organization_name text, p_display_name text, p_email text, p_name text, p_password_hash text, p_address text,
    p_request_id text
) returns uuid
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_organization bigint;
    v_user uuid;
begin
    insert into organization (name, display_name) values (p_organization_name, p_display_name)
    on conflict (name) do nothing returning organization_id into v_organization;
    if v_organization is null then
        return null;
    end if;
    insert into user_account (organization_id, email, name, role, password_hash)
    values (v_organization, p_email, p_name, 'admin', p_password_hash)
    returning user_id into v_user;
    insert into audit_event (organization_id, actor, action, object, result, address, request_id)
    values (v_organization, 'user:' || v_user, 'Register', 'organization:' || p_organization_name, 'done', p_address, p_request_id);
    return v_user;
end
$$;

revoke execute on function register_v1(text, text, text, text, text, text, text) from public;
grant execute on function register_v1(text, text, text, text, text, text, text) to eventflow_broker;
