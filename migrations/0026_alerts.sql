-- Alerts: thresholds on how far a consumer group is behind, their state, and notifications that wait for a webhook. Cold:
-- administered by plain SQL under row-level security. Evaluated by the function below, which any broker may call: it takes what is
-- due and nobody else is at, and a change of state is in the same transaction as the notification of it.

create table alert (
    -- Never used again, also not after a restore: the secret of its webhook is made of it.
    alert_id uuid primary key default gen_random_uuid(),
    organization_id bigint not null,
    group_id bigint not null references consumer_group on delete cascade,
    name text not null,
    description text not null default '',
    measure text not null constraint alert_measure
        check (measure in ('lag_events', 'lag_seconds', 'oldest_unacked_seconds', 'dead_letters_per_hour')),
    threshold bigint not null constraint alert_threshold check (threshold >= 0),
    -- For how long the value must be above the threshold before the alert fires.
    hold_ms bigint not null default 0 constraint alert_hold check (hold_ms between 0 and 86400000),
    -- Empty: nobody is told.
    webhook_url text not null default '' constraint alert_webhook_url check (octet_length(webhook_url) <= 2048),
    -- The secret is made of a key that brokers share, the id and this; nothing of it is stored.
    secret_version integer not null default 1,
    secret_rotated_at timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),

    state text not null default 'ok' constraint alert_state check (state in ('ok', 'pending', 'firing')),
    -- Since when it has this state.
    since timestamptz not null default clock_timestamp(),
    -- Null: not evaluated yet.
    value double precision,
    evaluated_at timestamptz,
    due_at timestamptz not null default clock_timestamp(),
    -- Notifications so far.
    sequence bigint not null default 0,

    -- What came of the newest attempt to tell the webhook of a change; null: there was none.
    delivery_type text,
    delivery_result text constraint alert_delivery_result check (delivery_result in ('delivered', 'retrying', 'given_up')),
    delivery_attempts integer not null default 0,
    -- The HTTP status that was answered; 0: none.
    delivery_status integer not null default 0,
    delivery_error text not null default '',
    delivery_at timestamptz,
    delivery_retry_at timestamptz,
    constraint alert_name_key unique (group_id, name)
) with (fillfactor = 50);
create index alert_organization on alert (organization_id);

-- A notification until it is delivered or given up: the one with the lowest sequence of an alert is next.
create table alert_delivery (
    delivery_id uuid primary key default gen_random_uuid(),
    organization_id bigint not null,
    alert_id uuid not null references alert on delete cascade,
    sequence bigint not null,
    type text not null constraint alert_delivery_type check (type in ('alert.firing', 'alert.resolved')),
    -- As it is sent, byte for byte, each time.
    body text not null,
    -- Attempts begun. Whoever reports one names its number, so that a late report of an earlier one changes nothing.
    attempts integer not null default 0,
    due_at timestamptz not null default clock_timestamp(),
    -- A broker is at it until then.
    claimed_until timestamptz,
    constraint alert_delivery_sequence_key unique (alert_id, sequence)
) with (fillfactor = 50);

do $$
declare
    v_table text;
begin
    foreach v_table in array array['alert', 'alert_delivery'] loop
        execute format('alter table %I enable row level security', v_table);
        execute format('alter table %I force row level security', v_table);
        execute format('create policy owner_all on %I to eventflow_owner using (true) with check (true)', v_table);
        execute format('create policy tenant on %I to eventflow_broker using (organization_id = current_organization())'
                       ' with check (organization_id = current_organization())', v_table);
        execute format('grant select, insert, update, delete on %I to eventflow_broker', v_table);
    end loop;
end
$$;

-- Since when the oldest failed event of a group has waited; null: none waits. Events for later count from their time on. Offsets of a
-- partition are in the order in which they were appended, so its first row is its oldest; beyond 10,000 events for later nobody looks.
create function oldest_retry_v1(p_organization bigint, p_group bigint) returns timestamptz
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select min(r.since)
    from consumer_offset o
    cross join lateral (
        select case when x.headers like '%"eventflow-deliver-at"%'
                    then greatest(x.appended_at, 'epoch'::timestamptz
                         + (x.headers::jsonb ->> 'eventflow-deliver-at')::bigint * interval '1 microsecond')
                    else x.appended_at end as since
        from (
            select r.headers, r.appended_at, r.attempts, r.due_at from retry r
            where r.group_id = o.group_id and r.partition_id = o.partition_id and r.organization_id = p_organization
            order by r.event_offset limit 10000
        ) x
        -- Not before its time: only what was never tried may wait for that.
        where x.attempts > 0 or x.due_at <= clock_timestamp()
        limit 1
    ) r
    where o.group_id = p_group and o.organization_id = p_organization
$$;

-- What a measure of a group is now, where its lag is known. Dead letters are those of the last hour that are still there, counted up
-- to a million.
create function alert_value_v1(
    p_organization bigint, p_group bigint, p_measure text, p_lag_events double precision, p_lag_seconds double precision
) returns double precision
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    select coalesce(case p_measure
        when 'lag_events' then p_lag_events
        when 'lag_seconds' then p_lag_seconds
        when 'oldest_unacked_seconds' then greatest(
            p_lag_seconds, extract(epoch from clock_timestamp() - oldest_retry_v1(p_organization, p_group))::double precision)
        when 'dead_letters_per_hour' then (
            select count(*) from (
                select from dead_letter_event d
                where d.group_id = p_group and d.organization_id = p_organization
                  and d.dead_at > clock_timestamp() - interval '1 hour'
                limit 1000000) d)::double precision
    end, 0)
$$;

-- What the webhook is sent.
create function alert_body_v1(p_alert alert, p_id uuid, p_type text) returns text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select json_build_object(
        'id', p_id, 'type', p_type, 'time', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'organization', o.name, 'stream', s.name, 'group', g.name, 'alert', p_alert.name, 'description', p_alert.description,
        'measure', p_alert.measure, 'threshold', p_alert.threshold, 'value', p_alert.value,
        'state', p_alert.state, 'since', to_char(p_alert.since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'sequence', p_alert.sequence)::text
    from consumer_group g
    join stream s on s.stream_id = g.stream_id
    join organization o on o.organization_id = p_alert.organization_id
    where g.group_id = p_alert.group_id and g.organization_id = p_alert.organization_id
$$;

-- Gives one alert, whose row is locked, its value, and says of a change that somebody is to be told.
create function evaluate_alert_v1(p_alert alert, p_value double precision, p_interval_ms bigint, p_waiting_max integer) returns text
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_next alert := p_alert;
    v_type text;
    v_id uuid := gen_random_uuid();
    v_now timestamptz := clock_timestamp();
begin
    v_next.value := p_value;
    v_next.state := case
        when v_next.value <= p_alert.threshold then 'ok'
        when p_alert.state = 'firing' or p_alert.hold_ms = 0 then 'firing'
        when p_alert.state = 'pending' and v_now >= p_alert.since + p_alert.hold_ms * interval '1 millisecond' then 'firing'
        else 'pending'
    end;
    if v_next.state <> p_alert.state then
        v_next.since := v_now;
        v_type := case when v_next.state = 'firing' then 'alert.firing' when p_alert.state = 'firing' then 'alert.resolved' end;
    end if;
    v_next.sequence := p_alert.sequence + (v_type is not null)::integer;
    update alert
    set state = v_next.state, since = v_next.since, value = v_next.value, sequence = v_next.sequence, evaluated_at = v_now,
        due_at = v_now + p_interval_ms * interval '1 millisecond'
    where alert_id = p_alert.alert_id;
    if v_type is not null and p_alert.webhook_url <> '' then
        insert into alert_delivery (delivery_id, organization_id, alert_id, sequence, type, body)
        values (v_id, p_alert.organization_id, p_alert.alert_id, v_next.sequence, v_type, alert_body_v1(v_next, v_id, v_type));
        -- A webhook that takes nothing keeps the newest of them only.
        delete from alert_delivery where alert_id = p_alert.alert_id and sequence <= v_next.sequence - p_waiting_max;
    end if;
    return v_type;
end
$$;

-- Evaluates alerts that are due, but for those that another broker is at: group by group, because the lag of a group is counted once
-- for all its alerts, and first of the organization that was served longest ago, so that one with much to count keeps nobody else
-- waiting. Stops when the budget is used up; `more` says that something may be left. An alert that fails is tried again after the
-- interval, and keeps its state.
create function evaluate_alerts_v1(p_limit integer, p_budget_ms bigint, p_interval_ms bigint, p_waiting_max integer)
returns table (evaluated integer, fired integer, resolved integer, failed integer, failure text, more boolean)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_start timestamptz := clock_timestamp();
    v_groups integer := 0;
    v_group record;
    v_alert alert;
    v_lag_known boolean;
    v_lag_events double precision;
    v_lag_seconds double precision;
    v_type text;
begin
    evaluated := 0; fired := 0; resolved := 0; failed := 0; failure := ''; more := false;
    for v_group in
        with served as (
            select s.organization_id, max(s.evaluated_at) as evaluated_at from alert s group by s.organization_id
        ), due as (
            select a.organization_id, a.group_id, min(a.due_at) as due_at,
                   row_number() over (partition by a.organization_id order by min(a.due_at), a.group_id) as place
            from alert a where a.due_at <= clock_timestamp() group by a.organization_id, a.group_id
        )
        select d.organization_id, d.group_id from due d join served s on s.organization_id = d.organization_id
        order by d.place, s.evaluated_at nulls first, d.due_at limit p_limit
    loop
        v_lag_known := false;
        -- Also those of the group that are about to be due.
        for v_alert in
            select a.* from alert a
            where a.group_id = v_group.group_id and a.organization_id = v_group.organization_id
              and a.due_at <= clock_timestamp() + p_interval_ms * interval '1 millisecond' / 2
            order by a.alert_id for update skip locked
        loop
            begin
                if not v_lag_known and v_alert.measure <> 'dead_letters_per_hour' then
                    select sum(l.lag_events)::double precision, max(l.lag_seconds) into v_lag_events, v_lag_seconds
                    from lag_v1(v_group.organization_id, v_group.group_id) l;
                    v_lag_known := true;
                end if;
                v_type := evaluate_alert_v1(
                    v_alert,
                    alert_value_v1(v_group.organization_id, v_group.group_id, v_alert.measure, v_lag_events, v_lag_seconds),
                    p_interval_ms, p_waiting_max);
                evaluated := evaluated + 1;
                fired := fired + coalesce((v_type = 'alert.firing')::integer, 0);
                resolved := resolved + coalesce((v_type = 'alert.resolved')::integer, 0);
            exception when others then
                failed := failed + 1;
                failure := sqlerrm;
                update alert set due_at = clock_timestamp() + p_interval_ms * interval '1 millisecond'
                where alert_id = v_alert.alert_id;
            end;
        end loop;
        v_groups := v_groups + 1;
        more := v_groups = p_limit or clock_timestamp() > v_start + p_budget_ms * interval '1 millisecond';
        exit when more;
    end loop;
    return next;
end
$$;

-- Takes notifications for this broker, until the lease ends: of each alert the oldest, if it is due, and at most so many of an
-- organization at a time, whoever has them.
create function take_alert_deliveries_v1(p_limit integer, p_each integer, p_lease_ms bigint)
returns table (
    delivery_id uuid, organization_id bigint, alert_id uuid, attempts integer, body text, url text, secret_version integer,
    secret_age_s double precision
)
language sql volatile security definer set search_path = eventflow, pg_temp
as $$
    with head as (
        select distinct on (d.alert_id) d.delivery_id, d.organization_id, d.due_at, d.claimed_until
        from alert_delivery d order by d.alert_id, d.sequence
    ), busy as (
        select d.organization_id, count(*) as deliveries
        from alert_delivery d where d.claimed_until > clock_timestamp() group by d.organization_id
    ), free as (
        select h.delivery_id, h.due_at,
               coalesce(b.deliveries, 0) + row_number() over (partition by h.organization_id order by h.due_at, h.delivery_id) as place
        from head h left join busy b on b.organization_id = h.organization_id
        where h.due_at <= clock_timestamp() and coalesce(h.claimed_until <= clock_timestamp(), true)
    ), taken as (
        select d.delivery_id from alert_delivery d
        where d.delivery_id in (select f.delivery_id from free f where f.place <= p_each order by f.due_at limit p_limit)
          -- Looked at again when another broker was faster.
          and coalesce(d.claimed_until <= clock_timestamp(), true) and d.due_at <= clock_timestamp()
        for update skip locked
    )
    update alert_delivery d
    set attempts = d.attempts + 1, claimed_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    from taken t, alert a
    where d.delivery_id = t.delivery_id and a.alert_id = d.alert_id
    returning d.delivery_id, d.organization_id, d.alert_id, d.attempts, d.body, a.webhook_url, a.secret_version,
              extract(epoch from clock_timestamp() - a.secret_rotated_at)::double precision
$$;

-- What came of an attempt. Without a delay a failed one is the last. False: the notification is gone, or somebody else's by now.
create function report_alert_delivery_v1(
    p_organization bigint, p_alert uuid, p_delivery uuid, p_attempt integer, p_result text, p_status integer, p_error text,
    p_delay_ms bigint
) returns boolean
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_type text;
    v_retry_at timestamptz;
begin
    -- The alert before its notifications: everybody locks in this order.
    perform from alert where alert_id = p_alert and organization_id = p_organization for update;
    if p_result = 'retrying' then
        update alert_delivery set due_at = clock_timestamp() + p_delay_ms * interval '1 millisecond', claimed_until = null
        where delivery_id = p_delivery and alert_id = p_alert and attempts = p_attempt and organization_id = p_organization
        returning type, due_at into v_type, v_retry_at;
    else
        delete from alert_delivery
        where delivery_id = p_delivery and alert_id = p_alert and attempts = p_attempt and organization_id = p_organization
        returning type into v_type;
    end if;
    if v_type is null then
        return false;
    end if;
    update alert
    set delivery_type = v_type, delivery_result = p_result, delivery_attempts = p_attempt, delivery_status = p_status,
        delivery_error = p_error, delivery_at = clock_timestamp(), delivery_retry_at = v_retry_at
    where alert_id = p_alert;
    return true;
end
$$;

-- Groups with alerts that fire, whoever's they are: for the metrics.
create function firing_alerts_v1(p_limit integer)
returns table (organization text, stream text, consumer_group text, alerts bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select o.name, s.name, g.name, f.alerts
    from (select a.group_id, a.organization_id, count(*) as alerts from alert a where a.state = 'firing'
          group by a.group_id, a.organization_id order by a.group_id limit p_limit) f
    join consumer_group g on g.group_id = f.group_id and g.organization_id = f.organization_id
    join stream s on s.stream_id = g.stream_id
    join organization o on o.organization_id = f.organization_id
$$;

-- What a test sends: the alert as it is, of the organization's own.
create function alert_test_body_v1(p_organization bigint, p_alert uuid, p_id uuid) returns text
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select alert_body_v1(a, p_id, 'alert.test') from alert a where a.alert_id = p_alert and a.organization_id = p_organization
$$;

revoke execute on function oldest_retry_v1(bigint, bigint), alert_value_v1(bigint, bigint, text, double precision, double precision), alert_body_v1(alert, uuid, text),
    evaluate_alert_v1(alert, double precision, bigint, integer), evaluate_alerts_v1(integer, bigint, bigint, integer),
    take_alert_deliveries_v1(integer, integer, bigint),
    report_alert_delivery_v1(bigint, uuid, uuid, integer, text, integer, text, bigint), firing_alerts_v1(integer),
    alert_test_body_v1(bigint, uuid, uuid) from public;
grant execute on function evaluate_alerts_v1(integer, bigint, bigint, integer), take_alert_deliveries_v1(integer, integer, bigint),
    report_alert_delivery_v1(bigint, uuid, uuid, integer, text, integer, text, bigint), firing_alerts_v1(integer),
    alert_test_body_v1(bigint, uuid, uuid) to eventflow_broker;
