-- The name after which the page starts is empty for the first page; every name is greater.
select s.stream_id, s.organization_id, s.uid, s.name, s.description, s.retention_max_age_us, s.retention_max_bytes,
       s.max_event_bytes, s.labels::text as labels, s.routing_version,
       s.schema_enforcement, s.schema_compatibility, s.schema_revision, s.key_retention_us, s.track_keys,
       (extract(epoch from s.created_at) * 1000000)::bigint as created_at,
       (extract(epoch from s.updated_at) * 1000000)::bigint as updated_at,
       array(
           select p.partition_id from eventflow.stream_partition p
           where p.stream_id = s.stream_id order by p.partition_index
       ) as partitions
from eventflow.stream s
where s.organization_id = $1 and s.name > $2 and s.deleted_at is null
order by s.name limit $3
