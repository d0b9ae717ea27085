-- Groups in the order of the argument; those that are gone are left out.
select group_id, organization, stream, consumer_group, lag_events, lag_seconds
from eventflow.group_lags_v1($1)
