-- Retries on their way to members, failures in ordered groups, and what people look at; and who may call all of it.

-- What a holder still has: after a seek, less than it believes.
create function held_v1(p_organization bigint, p_group bigint, p_holder uuid)
returns table (is_retry boolean, partition_id bigint, at_offset bigint, lease_epoch bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select false, c.partition_id, c.from_offset, c.lease_epoch from group_claim c
    where c.group_id = p_group and c.organization_id = p_organization and c.holder = p_holder
    union all
    select true, r.partition_id, r.event_offset, r.lease_epoch from retry r
    where r.group_id = p_group and r.organization_id = p_organization and r.holder = p_holder
$$;

-- Takes retries that are due, the oldest first, about `p_bytes` of payload and at least one. Null partitions: all. Only what fell due
-- within so many milliseconds; null: everything. Who has found nothing more asks for what came since, and now and then for everything:
-- what was taken before is in the index for as long as some old transaction is open, and would be stepped over each time.
create function take_retries_v1(
    p_organization bigint, p_group bigint, p_holder uuid, p_broker uuid, p_partitions bigint[], p_limit integer, p_bytes bigint,
    p_within_ms bigint default null
) returns table (
    partition_id bigint, event_offset bigint, lease_epoch bigint, log_epoch bigint, attempts integer, lost_only boolean,
    alone boolean, reason text, error_class text, appended_at timestamptz, publisher text, id text, type text, key text,
    event_time bigint, content_type text, headers text, payload bytea, redriven boolean
)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_key_order boolean;
    -- Times that an index can be asked for.
    v_now timestamptz := clock_timestamp();
    v_since timestamptz := coalesce(v_now - p_within_ms * interval '1 millisecond', '-infinity');
begin
    perform 1 from broker b where b.broker_id = p_broker and b.expires_at > clock_timestamp() for key share;
    if not found then
        return;
    end if;
    select g.key_order into v_key_order from consumer_group g where g.group_id = p_group;
    return query
        with due as (
            select r.partition_id, r.event_offset, r.due_at, octet_length(r.payload) as size from retry r
            where r.group_id = p_group and r.organization_id = p_organization and r.holder is null and not r.in_place
              and r.due_at > v_since and r.due_at <= v_now and (p_partitions is null or r.partition_id = any (p_partitions))
              and not r.parked
              -- Where keys are in order, a partition's retries are in the hand that has its claims.
              and (not v_key_order or exists (
                  select 1 from consumer_offset o
                  where o.group_id = p_group and o.partition_id = r.partition_id and o.dispatcher = p_holder))
            order by r.due_at limit p_limit for update skip locked
        ), chosen as (
            select d.partition_id, d.event_offset from (
                select x.*, sum(x.size) over (order by x.due_at, x.partition_id, x.event_offset) - x.size as before from due x
            ) d where d.before < p_bytes
        )
        update retry r set holder = p_holder, broker_id = p_broker, lease_epoch = r.lease_epoch + 1
        from chosen c, log_state s
        where r.group_id = p_group and r.partition_id = c.partition_id and r.event_offset = c.event_offset
        returning r.partition_id, r.event_offset, r.lease_epoch, s.log_epoch, r.attempts, r.lost_only, r.alone, r.reason,
                  r.error_class, r.appended_at, r.publisher, r.id, r.type, r.key, r.event_time, r.content_type, r.headers,
                  r.payload, r.redriven;
end
$$;

-- Ordered groups ----------------------------------------------------------------------------------------------------------

-- A failed attempt at the event where a partition's progress stands (`p_failure.event_offset`; everything below it is done). With
-- `p_in_place` it is tried again where it stands, otherwise progress moves past it. `p_attempt` is the number of this attempt:
-- one that was counted before is not counted again. Verdicts: 'applied', 'passed' when progress is further already, 'seek_fenced'
-- and 'member_fenced' as with commits.
create function fail_v1(
    p_organization bigint, p_group bigint, p_session uuid, p_log_epoch bigint, p_attempt integer, p_in_place boolean,
    p_failure failure_input_v1
) returns table (verdict text, next_offset bigint)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_offset consumer_offset;
    v_log_epoch bigint;
    v_next bigint;
begin
    if current_setting('synchronous_commit') in ('off', 'local') then
        perform set_config('synchronous_commit', 'on', true);
    end if;
    select * into v_offset from consumer_offset o
    where o.group_id = p_group and o.partition_id = p_failure.partition_id and o.organization_id = p_organization for update;
    select s.log_epoch into strict v_log_epoch from log_state s;
    if v_offset.session_id is distinct from p_session then
        return query select 'member_fenced', 0::bigint;
        return;
    elsif v_offset.lease_epoch <> p_failure.lease_epoch or v_log_epoch <> p_log_epoch then
        return query select 'seek_fenced', v_offset.next_offset;
        return;
    elsif v_offset.next_offset > p_failure.event_offset then
        return query select 'passed', v_offset.next_offset;
        return;
    end if;
    update retry r
    set attempts = p_attempt, due_at = clock_timestamp() + coalesce(p_failure.delay_ms, 0) * interval '1 millisecond',
        in_place = p_in_place, reason = p_failure.reason, error_class = p_failure.error_class,
        history = newest_attempts(r.history, failed_attempt(p_attempt, p_failure))
    where r.group_id = p_group and r.partition_id = p_failure.partition_id and r.event_offset = p_failure.event_offset
      and r.attempts = p_attempt - 1;
    insert into retry (
        group_id, partition_id, event_offset, organization_id, attempts, due_at, in_place, lost_only, alone, reason, error_class,
        history, appended_at, publisher, id, type, key, event_time, content_type, headers, payload)
    select p_group, p_failure.partition_id, e.event_offset, p_organization, p_attempt,
           clock_timestamp() + coalesce(p_failure.delay_ms, 0) * interval '1 millisecond', p_in_place, false, false,
           p_failure.reason, p_failure.error_class, failed_attempt(p_attempt, p_failure), e.appended_at, e.publisher, e.id, e.type,
           e.key, e.event_time, e.content_type, e.headers, e.payload
    from event_copy(p_failure.partition_id, array[p_failure.event_offset]) e
    on conflict do nothing;
    if p_failure.delay_ms is null then
        perform bury(p_group, p_failure.partition_id, array[p_failure.event_offset]);
    end if;
    v_next := p_failure.event_offset + (p_failure.delay_ms is null or not p_in_place)::integer;
    update consumer_offset o
    set next_offset = v_next, in_place_offset = case when v_next = p_failure.event_offset then v_next end
    where o.group_id = p_group and o.partition_id = p_failure.partition_id;
    return query select 'applied', v_next;
end
$$;

-- A commit past an event that is being retried in place, which is done by that. Verdicts as above, and 'committed'.
create function pass_v1(
    p_organization bigint, p_group bigint, p_partition bigint, p_session uuid, p_log_epoch bigint, p_lease_epoch bigint,
    p_next_offset bigint
) returns table (verdict text, next_offset bigint)
language plpgsql volatile security definer set search_path = eventflow, pg_temp
as $$
declare
    v_verdict record;
begin
    select c.verdict, c.next_offset into strict v_verdict from commit_v1(array[
        (p_organization, p_group, p_partition, p_session, p_log_epoch, p_lease_epoch, p_next_offset)::commit_input_v1]) c;
    if v_verdict.verdict = 'committed' then
        delete from retry r where r.group_id = p_group and r.partition_id = p_partition and r.in_place
          and r.event_offset < v_verdict.next_offset;
        update consumer_offset o set in_place_offset = null
        where o.group_id = p_group and o.partition_id = p_partition and o.in_place_offset < v_verdict.next_offset;
    end if;
    return query select v_verdict.verdict, v_verdict.next_offset;
end
$$;

-- The event that a partition's holder is to try again where progress stands. No row: none, or not the holder.
create function in_place_v1(p_organization bigint, p_group bigint, p_partition bigint, p_session uuid)
returns table (
    event_offset bigint, due_in_ms bigint, attempts integer, reason text, error_class text, appended_at timestamptz,
    publisher text, id text, type text, key text, event_time bigint, content_type text, headers text, payload bytea
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select r.event_offset, (extract(epoch from r.due_at - clock_timestamp()) * 1000)::bigint, r.attempts, r.reason,
           r.error_class, r.appended_at, r.publisher, r.id, r.type, r.key, r.event_time, r.content_type, r.headers, r.payload
    from consumer_offset o
    join retry r on r.group_id = o.group_id and r.partition_id = o.partition_id and r.event_offset = o.in_place_offset and r.in_place
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = p_partition
      and o.session_id = p_session and o.in_place_offset = o.next_offset
$$;

-- What people look at ------------------------------------------------------------------------------------------------------

create function outcome_counts_v1(p_organization bigint, p_group bigint)
returns table (partition_index integer, retries bigint, dead_letters bigint)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select o.partition_index,
           (select count(*) from retry r where r.group_id = o.group_id and r.partition_id = o.partition_id),
           (select count(*) from dead_letter_event d where d.group_id = o.group_id and d.partition_id = o.partition_id)
    from consumer_offset o
    where o.group_id = p_group and o.organization_id = p_organization
    order by o.partition_index
$$;

revoke execute on all functions in schema eventflow from public;
grant execute on function claim_v1(bigint, bigint, uuid, uuid, bigint[], bigint),
    settle_v1(bigint, bigint, uuid, done_input_v1[], failure_input_v1[], retry_key_v1[]),
    give_back_v1(bigint, bigint, uuid, retry_key_v1[], retry_key_v1[]), held_v1(bigint, bigint, uuid),
    split_claim_v1(bigint, bigint, uuid, bigint, bigint, bigint, text),
    take_retries_v1(bigint, bigint, uuid, uuid, bigint[], integer, bigint, bigint),
    fail_v1(bigint, bigint, uuid, bigint, integer, boolean, failure_input_v1),
    pass_v1(bigint, bigint, bigint, uuid, bigint, bigint, bigint), in_place_v1(bigint, bigint, bigint, uuid),
    outcome_counts_v1(bigint, bigint) to eventflow_broker;
