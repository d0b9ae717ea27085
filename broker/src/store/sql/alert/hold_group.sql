-- Held, so that the group stays and its alerts are counted one after the other.
select group_id from eventflow.consumer_group where organization_id = $1 and group_id = $2 for no key update
