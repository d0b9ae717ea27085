-- Why an event is, or is not, delivered.

-- Everything that is stored about one event of one group, from one snapshot. No row: the group does not read that partition.
create function explain_v1(p_organization bigint, p_group bigint, p_partition bigint, p_offset bigint)
returns table (
    now_at timestamptz, floor_offset bigint, head_offset bigint, start_offset bigint, next_offset bigint, claim_offset bigint,
    paused boolean, members bigint,
    holder text, holder_session uuid, holder_broker uuid, holder_broker_name text, holder_broker_address text,
    in_place_offset bigint, in_place_attempts integer, in_place_due_at timestamptz,
    is_claimed boolean, claim_broker uuid, claim_broker_name text, claim_broker_address text,
    retry_attempts integer, retry_due_at timestamptz, is_retry_in_place boolean, is_retry_held boolean, retry_broker uuid,
    retry_broker_name text, retry_broker_address text, retry_member text, retry_reason text, retry_error_class text,
    dead_attempts integer, dead_at timestamptz, dead_member text, dead_reason text, dead_error_class text,
    is_retry_parked boolean, key_behind_offset bigint
)
language sql stable security definer set search_path = eventflow, pg_temp
as $$
    select clock_timestamp(), h.floor_offset, e.next_offset, o.start_offset, o.next_offset, o.claim_offset,
           g.paused, (select count(*) from group_member m where m.group_id = o.group_id and m.detached_until is null),
           o.member_name, o.session_id, hb.broker_id, hb.name, hb.address,
           i.event_offset, i.attempts, i.due_at,
           c.group_id is not null, cb.broker_id, cb.name, cb.address,
           r.attempts, r.due_at, r.in_place, r.holder is not null, rb.broker_id, rb.name, rb.address,
           r.history -> -1 ->> 'member', r.reason, r.error_class,
           d.attempts, d.dead_at, d.history -> -1 ->> 'member', d.reason, d.error_class,
           r.parked, b.event_offset
    from consumer_offset o
    join group_state g on g.group_id = o.group_id
    join partition_head h on h.partition_id = o.partition_id
    cross join lateral partition_end(o.partition_id) e
    left join group_member hm on hm.group_id = o.group_id and hm.member_name = o.member_name
    left join broker hb on hb.broker_id = hm.broker_id
    left join retry i on i.group_id = o.group_id and i.partition_id = o.partition_id and i.event_offset = o.in_place_offset
        and i.in_place and o.in_place_offset = o.next_offset
    -- A claim in which it is not done. A split leaves ranges of a claim to others, so that several may hold its offset.
    left join group_claim c on c.group_id = o.group_id and c.partition_id = o.partition_id and c.from_offset = (
            select x.from_offset from group_claim x
            where x.group_id = o.group_id and x.partition_id = o.partition_id and x.from_offset <= p_offset
              and x.to_offset > p_offset and not x.done @> p_offset
            order by x.from_offset desc limit 1)
    -- Where keys are in order, one broker knows of everything in the partition.
    left join broker cb on cb.broker_id = coalesce(c.broker_id, o.dispatcher_broker)
    left join retry r on r.group_id = o.group_id and r.partition_id = o.partition_id and r.event_offset = p_offset
    -- What a parked event waits for.
    left join lateral (
        select min(x.event_offset) as event_offset from retry x
        where x.group_id = r.group_id and x.partition_id = r.partition_id and x.key = r.key and x.key_ordered and r.parked
          and x.event_offset < r.event_offset
    ) b on true
    left join broker rb on rb.broker_id = r.broker_id
    left join dead_letter_event d on d.group_id = o.group_id and d.partition_id = o.partition_id and d.event_offset = p_offset
    where o.group_id = p_group and o.organization_id = p_organization and o.partition_id = p_partition
$$;

revoke execute on function explain_v1(bigint, bigint, bigint, bigint) from public;
grant execute on function explain_v1(bigint, bigint, bigint, bigint) to eventflow_broker;
