-- The groups' rows go before their progress: everybody locks in this order.
delete from eventflow.consumer_group where organization_id = $1 and stream_id = $2 returning group_id
