-- The group is null when it is gone.
select p.group_id, p.version, g.name as consumer_group
from eventflow.rule_pipeline p
left join eventflow.consumer_group g on g.group_id = p.group_id and g.organization_id = p.organization_id
where p.organization_id = $1 and p.stream_id = $2
