-- Alone: the stream is about to be deleted, or to get partitions.
select stream_id from eventflow.stream
where organization_id = $1 and name = $2 and deleted_at is null for update
