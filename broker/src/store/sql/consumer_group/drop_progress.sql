-- Groups are locked in ascending order, as commits lock them.
select coalesce(sum(d.members), 0)::bigint as members
from (
    select eventflow.drop_progress_v1($1, g.group_id) as members
    from (select group_id from unnest($2::bigint[]) as u(group_id) order by group_id) g
) d
