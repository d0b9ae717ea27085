-- Beside others: the stream may neither be deleted nor get partitions before this transaction ends.
select stream_id from eventflow.stream
where organization_id = $1 and name = $2 and deleted_at is null for share
