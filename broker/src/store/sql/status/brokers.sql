select b.name, b.address, b.version,
       extract(epoch from clock_timestamp() - b.started_at)::double precision as uptime_seconds,
       extract(epoch from b.expires_at - clock_timestamp())::double precision as lease_seconds_left,
       (select count(*) from eventflow.group_member m where m.broker_id = b.broker_id) as members,
       (select count(*) from eventflow.group_member m
        join eventflow.consumer_offset o on o.group_id = m.group_id and o.session_id = m.session_id
        where m.broker_id = b.broker_id) as partitions
from eventflow.broker b
-- What ended long ago is history.
where b.expires_at > clock_timestamp() - interval '1 minute'
order by b.name, b.started_at
