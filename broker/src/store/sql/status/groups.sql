select o.name as organization, c.name as consumer_group, s.name as stream, g.paused,
       (select count(*) from eventflow.group_member m where m.group_id = c.group_id) as members,
       coalesce(l.events, 0)::bigint as lag_events, coalesce(l.seconds, 0)::double precision as lag_seconds
from eventflow.consumer_group c
join eventflow.group_state g on g.group_id = c.group_id
join eventflow.organization o on o.organization_id = c.organization_id
join eventflow.stream s on s.stream_id = c.stream_id
cross join lateral (
    select sum(p.lag_events) as events, max(p.lag_seconds) as seconds
    from eventflow.lag_v1(c.organization_id, c.group_id) p
) l
order by lag_seconds desc, lag_events desc, organization, consumer_group
limit $1
