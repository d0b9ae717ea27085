-- The group's row goes before its progress, also when a whole stream goes: everybody locks in this order.
delete from eventflow.consumer_group where organization_id = $1 and name = $2 returning group_id
