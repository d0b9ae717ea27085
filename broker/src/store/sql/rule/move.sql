-- Numbers the rules of a stream from 1 again, with one of them at its new place, or at the end when that lies beyond. A null place
-- leaves the order as it is.
with numbered as (
    select rule_id, row_number() over (order by
        case when rule_id = $3 and $4::integer is not null
             -- Between the one before its new place and the one that stands there now.
             then $4 + case when position < $4 then 0.5 else -0.5 end
             else position end) as place
    from eventflow.processing_rule where organization_id = $1 and stream_id = $2
)
update eventflow.processing_rule r set position = n.place
from numbered n
where r.rule_id = n.rule_id and r.organization_id = $1 and r.position <> n.place
